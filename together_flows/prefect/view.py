"""What a person sees of a job in Prefect: progress, a link, events and log lines.

None of it may ever fail a paid job: what cannot be shown is logged, and the job goes on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    acreate_link_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from together_flows.jobs import JobReference, JobState, JobStatus
from together_flows.jobs.steps import Logger

__all__ = [
    "AsyncProgress",
    "Progress",
    "announce",
    "ashow_count",
    "ashow_link",
    "ashow_share",
    "ashow_table",
    "run_logger",
    "show_link",
    "show_table",
    "slug",
]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def run_logger() -> Logger:
    """A function that writes a line into the log of the present run."""
    try:
        logger: logging.Logger | logging.LoggerAdapter[Any] = get_run_logger()
    except MissingContextError:
        logger = get_logger("together_flows")

    def log(message: str, level: str) -> None:
        logger.log(_LEVELS.get(level, logging.INFO), "%s", message)

    return log


def slug(*words: str) -> str:
    """The words as a key that Prefect takes for an artifact: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def announce(reference: JobReference, what: str, page: str = "", **payload: Any) -> None:
    """Emit the event `together.<kind>.<what>` about a job."""
    resource = {
        "prefect.resource.id": f"together.{reference.kind}.{reference.id}",
        "prefect.resource.name": reference.id,
        "together.page": page,
    }
    try:
        emit_event(event=f"together.{reference.kind}.{what}".replace("_", "-"), resource=resource, payload=payload)
    except Exception as error:  # see the module's docstring
        run_logger()(f"An event about {reference} could not be sent: {error}", "debug")


def show_link(reference: JobReference, page: str) -> None:
    """Show a link to the job's page with the run."""
    _shown(create_link_artifact, key=slug("together", reference.kind), link=page, link_text=str(reference))


async def ashow_link(reference: JobReference, page: str) -> None:
    """The same as `show_link`, on the event loop."""
    await _ashown(acreate_link_artifact, key=slug("together", reference.kind), link=page, link_text=str(reference))


def show_table(key: str, rows: list[dict[str, Any]], description: str = "") -> None:
    """Show a table with the run."""
    _shown(create_table_artifact, key=slug(key), table=rows, description=description)


async def ashow_table(key: str, rows: list[dict[str, Any]], description: str = "") -> None:
    """The same as `show_table`, on the event loop."""
    await _ashown(acreate_table_artifact, key=slug(key), table=rows, description=description)


class _Sight:
    """What is new in a status, compared with the one before."""

    def __init__(self, reference: JobReference, page: str) -> None:
        self.reference, self.page = reference, page
        self.key = slug("together", reference.kind, "progress")
        self.artifact: UUID | None = None
        self.percent = -1.0
        self._state: JobState | None = None

    def take(self, status: JobStatus) -> bool:
        """Send an event if the state has changed, and tell whether there is progress to show."""
        if status.state is not self._state:
            self._state = status.state
            announce(self.reference, str(status.state), self.page, status=status.raw, message=status.message)
        share = 1.0 if status.state is JobState.SUCCEEDED else status.progress or 0.0
        percent = round(100 * share, 1)
        changed, self.percent = percent != self.percent, percent
        return changed

    @property
    def description(self) -> str:
        return f"[{self.reference}]({self.page})"


class Progress:
    """Shows the progress of a job as an artifact, and its states as events."""

    def __init__(self, reference: JobReference, page: str) -> None:
        self._sight = _Sight(reference, page)

    def saw(self, status: JobStatus) -> None:
        """A look at the job has succeeded."""
        sight = self._sight
        if not sight.take(status):
            return
        if sight.artifact is None:
            sight.artifact = _shown(
                create_progress_artifact, progress=sight.percent, key=sight.key, description=sight.description
            )
        else:
            _shown(update_progress_artifact, artifact_id=sight.artifact, progress=sight.percent)


class AsyncProgress:
    """The same as `Progress`, on the event loop."""

    def __init__(self, reference: JobReference, page: str) -> None:
        self._sight = _Sight(reference, page)

    async def saw(self, status: JobStatus) -> None:
        """A look at the job has succeeded."""
        sight = self._sight
        if not sight.take(status):
            return
        if sight.artifact is None:
            sight.artifact = await _ashown(
                acreate_progress_artifact, progress=sight.percent, key=sight.key, description=sight.description
            )
        else:
            await _ashown(aupdate_progress_artifact, artifact_id=sight.artifact, progress=sight.percent)


async def ashow_count(total: int) -> Callable[[int], Coroutine[Any, Any, None]]:
    """Show how many of several jobs have ended. Answers with the function that tells the number."""
    show = await ashow_share("together-jobs-progress", f"{total} jobs")
    return lambda ended: show(ended / max(total, 1))


async def ashow_share(key: str, description: str) -> Callable[[float], Coroutine[Any, Any, None]]:
    """Show how far something has come. Answers with the function that tells the share, 0 to 1."""
    artifact = await _ashown(acreate_progress_artifact, progress=0.0, key=slug(key), description=description)

    async def show(share: float) -> None:
        if artifact is not None:
            await _ashown(aupdate_progress_artifact, artifact_id=artifact, progress=round(100 * share, 1))

    return show


def _in_a_run() -> bool:
    """Whether there is a run that an artifact could be shown with."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None


def _shown(create: Callable[..., Any], **arguments: Any) -> Any:
    if not _in_a_run():
        return None
    try:
        return create(**arguments, _sync=True)  # so that Prefect does not guess whether this is asynchronous code
    except Exception as error:  # see the module's docstring
        run_logger()(f"An artifact could not be written: {error}", "debug")
        return None


async def _ashown(create: Callable[..., Coroutine[Any, Any, Any]], **arguments: Any) -> Any:
    if not _in_a_run():
        return None
    try:
        return await create(**arguments)
    except Exception as error:  # see the module's docstring
        run_logger()(f"An artifact could not be written: {error}", "debug")
        return None
