"""No answer without an id or a status passes, whichever operation answers it: not alone, and not in a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import contract
from tests.contract.places import Place, changed, without
from tests.contract.test_answers import IN_JSON, INSISTED, schema_of, some_operation, with_counts
from together_flows.errors import AnswerInvalid

#: What names a thing, or says how it is doing.
ESSENTIAL = re.compile(r"(request|.*_|^)(id|Id)$|^status$|^state$")

#: What looks like it and is something else's, or of what nobody needs it, or is not there in every answer.
OF_SOMETHING_ELSE = {
    "batches": {"error_file_id", "input_file_id", "model_id", "output_file_id", "user_id"},
    "chat": {"id"},
    "completions": {"id"},
    "evaluation": {"owner_id"},
    "fine_tunes": {"job_id", "user_id"},
    "images": {"id"},
    "models": {"model_id"},
    "rerank": {"id"},
    "rl": {"resume_from_checkpoint_id"},
    "tci": {"status"},
    "voices": {"id"},
}


@pytest.mark.parametrize("nothing", ["absent", "null"])
@pytest.mark.parametrize("name", IN_JSON)
def test_whatever_is_answered_has_what_names_it_and_says_how_it_is_doing(name: str, nothing: str):
    operation = some_operation(name)
    whole = with_counts(contract.fullest(schema_of(name), always=INSISTED))
    whole = whole[:1] if isinstance(whole, list) else whole
    operation.parse(whole)
    for place in essential(whole, OF_SOMETHING_ELSE.get(name.partition(".")[0], set())):
        less = without(whole, place) if nothing == "absent" else changed(whole, place, None)
        with pytest.raises(AnswerInvalid, match=rf"\b{place[-1]} (is required|must be)"):
            operation.parse(less)


def essential(answer: Any, foreign: set[str], place: Place = ()) -> Iterator[Place]:
    """The places of ids and statuses in the thing that is answered: by itself, in a wrapper, or in a list of them."""
    if isinstance(answer, list):
        for position, item in enumerate(answer[:1]):
            yield from essential(item, foreign, (*place, position))
    elif isinstance(answer, dict):
        mine = [key for key in answer if ESSENTIAL.search(key) and key not in foreign]
        yield from ((*place, key) for key in mine)
        for key in () if mine else answer:
            yield from essential(answer[key], foreign, (*place, key))
