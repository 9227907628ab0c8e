"""WebSocket sessions for callers that cannot hold one, such as a task or a command: all in, all out.

from together_flows import Together
from together_flows.api import audio
from together_flows.inference import converse

with Together() as client:
    converse(client, audio.connect_speech(), ["Good ", "morning."], "morning.wav")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import anyio

from together_flows.api import Operation, Reply
from together_flows.errors import ArgumentInvalid, ConnectionFailed
from together_flows.inference.places import PlaceLike, place_of
from together_flows.inference.talks import (
    RAW_SUFFIXES,
    Hear,
    Patience,
    Step,
    Talk,
    can_be_spoken,
    speaking,
    writing_down,
)

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether, Together
    from together_flows.client._session import AsyncSession, Session

__all__ = ["SESSIONS", "Patience", "SessionForm", "SessionInput", "aconverse", "check_session_input", "converse"]

SessionInput: TypeAlias = "PlaceLike | Sequence[str]"
"""A text or its pieces for a session that speaks; a recording's path or URL for one that listens."""

T = TypeVar("T")

_PATIENCE = Patience()


@dataclass(frozen=True)
class SessionForm:
    """What goes into a session and what comes out.

    Attributes:
        takes: its input, in words.
        reads_file: whether its input is the place of a file; otherwise it is text.
        writes_file: whether its answer is a file; otherwise it is JSON.
        talk: makes the talk, from the operation, the input, the target and the patience.
    """

    takes: str
    reads_file: bool
    writes_file: bool
    talk: Callable[[Operation[Any], Any, Any, Patience], Talk]


def _speech(operation: Operation[Any], text: Any, target: PlaceLike, patience: Patience) -> Talk:
    pieces = [text] if isinstance(text, str) else text
    if not isinstance(pieces, Sequence) or not all(isinstance(piece, str) for piece in pieces):
        raise ArgumentInvalid(f"{operation.name}: session_input must be a text or a list of texts.")
    if not any(map(can_be_spoken, pieces)):
        raise ArgumentInvalid(f"{operation.name}: there is nothing to speak in session_input.", mend="Give it a text.")
    place = place_of(target)
    if PurePath(place.name).suffix.lower() not in {".wav", *RAW_SUFFIXES}:
        raise ArgumentInvalid(
            f"{operation.name}: the audio is PCM, and {place} is called otherwise.",
            mend="End output_path in .wav, or in .pcm for bare samples; audio.create_speech has other formats.",
        )
    return speaking(operation, pieces, place, patience)


def _transcription(operation: Operation[Any], recording: Any, target: None, patience: Patience) -> Talk:
    if isinstance(recording, Sequence) and not isinstance(recording, str):
        raise ArgumentInvalid(f"{operation.name}: session_input must be the path or URL of one recording.")
    return writing_down(operation, place_of(recording), patience)


#: The sessions of the API, by the names of their operations.
SESSIONS: Mapping[str, SessionForm] = {
    "audio.connect_speech": SessionForm("the text to speak, or a list of its pieces", False, True, _speech),
    "realtime.connect": SessionForm("the path or URL of a recording", True, False, _transcription),
}


def check_session_input(operation: Operation[Any], session_input: SessionInput | None) -> None:
    """Refuse an input where there is no session, and a session where there is no input.

    Raises:
        ArgumentInvalid: one of the two is missing.
    """
    if operation.reply is not Reply.SOCKET:
        if session_input:
            raise ArgumentInvalid(
                f"{operation.name} is no session, and takes no session_input.", mend="Put it into the arguments."
            )
    elif not session_input:
        raise ArgumentInvalid(
            f"{operation.name} is a session, which needs an input.",
            mend=f"Give it session_input: {SESSIONS[operation.name].takes}.",
        )


def converse(
    client: Together,
    operation: Operation[Any],
    session_input: SessionInput,
    output_path: PlaceLike | None = None,
    *,
    patience: Patience = _PATIENCE,
) -> dict[str, Any]:
    """Hold a WebSocket session from its beginning to its end. It needs the extra `realtime`.

    Memory does not grow with the audio. A session that breaks leaves no file, and a repetition begins anew.

    Args:
        client: opens the session.
        operation: `audio.connect_speech` or `realtime.connect`.
        session_input: the text to speak or a list of its pieces; or the path or URL of the recording to write down: a
            WAV file with one channel of 16 bits at 16,000 Hz, or such samples alone in a `.pcm` or `.raw`.
        output_path: where the speech goes: a path or URL that ends in `.wav`, or in `.pcm` or `.raw` for samples alone.
            A transcription has none.
        patience: how long to wait for the next event.

    Returns:
        `path` and `bytes` of the speech; or `text` of the recording, with `segments` and `usage` if the API tells them.

    Raises:
        ArgumentInvalid: the operation is no session, or its input or target does not suit it. Nothing was sent.
        ApiError: the API refused the session, or reported an error in it.
        ConnectionFailed: the session ended before it was complete, or fell silent.
        AnswerInvalid: an event is not what the operation promises.
    """
    with closing(_talk(operation, session_input, output_path, patience)) as talk:
        step = _advanced(talk, None)  # before the session is opened, for it opens the files
        with client.connect(operation) as session:
            while not isinstance(step, dict):
                step = _advanced(talk, _taken(session, step))
    return step


async def aconverse(
    client: AsyncTogether,
    operation: Operation[Any],
    session_input: SessionInput,
    output_path: PlaceLike | None = None,
    *,
    patience: Patience = _PATIENCE,
) -> dict[str, Any]:
    """The same as `converse`, on the event loop. Files are read and written in a thread."""
    talk = _talk(operation, session_input, output_path, patience)
    try:
        step = await _in_a_thread(lambda: _advanced(talk, None))
        async with client.connect(operation) as session:
            while not isinstance(step, dict):
                came = await _ataken(session, step)
                step = await _in_a_thread(partial(_advanced, talk, came))
    finally:
        await _in_a_thread(talk.close)
    return step


def _talk(
    operation: Operation[Any], session_input: SessionInput, output_path: PlaceLike | None, patience: Patience
) -> Talk:
    form = SESSIONS.get(operation.name)
    if form is None:
        raise ArgumentInvalid(f"{operation.name} is no session.", mend="Send it with send(operation).")
    check_session_input(operation, session_input)
    if form.writes_file != bool(output_path):
        raise ArgumentInvalid(
            f"{operation.name} answers with {'a file' if form.writes_file else 'JSON'}.",
            mend="Say where it goes with output_path." if form.writes_file else "Leave out output_path.",
        )
    return form.talk(operation, session_input, output_path, patience)


def _advanced(talk: Talk, came: Any) -> Step | dict[str, Any]:
    """The talk's next step after what came of the last, or its result."""
    try:
        return talk.throw(came) if isinstance(came, ConnectionFailed) else talk.send(came)
    except StopIteration as end:
        result: dict[str, Any] = end.value
        return result


def _taken(session: Session[Any], step: Step) -> Any:
    """What comes of a step: an event, nothing, or the end of the session."""
    try:
        if isinstance(step, Hear):
            return _no_failure(session, session.poll(step.within))
        return session.send(step.event)
    except ConnectionFailed as ended:
        for event in session:  # what came before the end may tell the reason
            _no_failure(session, event)
        return ended


async def _ataken(session: AsyncSession[Any], step: Step) -> Any:
    """The same as `_taken`, on the event loop."""
    try:
        if isinstance(step, Hear):
            return _no_failure(session, await session.poll(step.within))
        return await session.send(step.event)
    except ConnectionFailed as ended:
        async for event in session:
            _no_failure(session, event)
        return ended


def _no_failure(session: Session[Any] | AsyncSession[Any], event: Any) -> Any:
    """An event that reports no error."""
    if event is not None and (failure := session.failure_in(event)) is not None:
        raise failure
    return event


async def _in_a_thread(work: Callable[[], T]) -> T:
    """Do in a thread what may block. It is waited for even if this task is cancelled: a talk cannot be closed while
    it runs."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with anyio.CancelScope(shield=True):
            await asyncio.wait({running})
        raise
