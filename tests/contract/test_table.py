"""The operations that are declared are the contract's: every one, in its order, with its parameters and no others."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys

import pytest

from tests.contract import contract
from together_flows.api import CONTRACT, GROUPS, OPERATIONS, Reply

ROWS = dict(zip(CONTRACT, contract.OPERATIONS, strict=True))

#: Parameters that the contract does not have and the API takes.
ADDED = {
    "compute.create_cluster": {"cuda_version", "nvidia_driver_version"},
    **{
        f"rl.{name}": {"idempotency_key"}
        for name in (
            "forward_backward",
            "optim_step",
            "sample",
            "create_inference_checkpoint",
            "create_training_checkpoint",
        )
    },
}

#: Parameters that the contract requires and that have a default, or something else that may stand in for them.
RELAXED = {
    "fine_tunes.create": {"model"},
    "compute.create_cluster": {"driver_version"},
    "deployments.create_volume": {"type"},
    "tci.execute": {"language"},
    "realtime.connect": {"input_audio_format"},
}


def test_the_contract_has_98_operations_and_comes_first_in_its_own_order():
    assert len(CONTRACT) == 98
    assert tuple(OPERATIONS)[:98] == CONTRACT
    assert [(OPERATIONS[name].method, OPERATIONS[name].path) for name in CONTRACT] == [
        (row["method"], row["path"]) for row in contract.OPERATIONS
    ]


def test_the_few_calls_that_the_wire_needs_besides_are_marked():
    extras = [name for name, entry in OPERATIONS.items() if not entry.in_contract]
    assert extras == [
        "files.create",
        "files.preprocess",
        "files.initiate_multipart",
        "files.complete_multipart",
        "files.abort_multipart",
        "fine_tunes.metrics",
    ]
    assert extras == list(OPERATIONS)[98:]


@pytest.mark.parametrize("name", CONTRACT)
def test_an_operation_takes_the_parameters_of_the_contract(name: str):
    row = ROWS[name]
    body = contract.resolved(row["body"]["schema"]) if row["body"] else {}
    wanted = {contract.snake(parameter["name"]) for parameter in row["parameters"]} | body.get("properties", {}).keys()
    required = {contract.snake(p["name"]) for p in row["parameters"] if p["required"]} | {*body.get("required", ())}

    parameters = OPERATIONS[name].parameters
    assert parameters.keys() == wanted | ADDED.get(name, set())
    assert {key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty} == (
        required - RELAXED.get(name, set())
    )


@pytest.mark.parametrize("name", CONTRACT)
def test_ids_of_the_path_are_positional_and_everything_else_is_named(name: str):
    in_path = {contract.snake(key) for key in re.findall(r"{(\w+)}", OPERATIONS[name].path)}
    for key, parameter in OPERATIONS[name].parameters.items():
        wanted = inspect.Parameter.POSITIONAL_ONLY if key in in_path else inspect.Parameter.KEYWORD_ONLY
        assert parameter.kind is wanted, key


@pytest.mark.parametrize("name", CONTRACT)
def test_an_operation_knows_its_version_and_what_its_answer_is_made_of(name: str):
    row, entry = ROWS[name], OPERATIONS[name]
    assert entry.version == row["version"]
    assert entry.streams == any(answer["type"] == "text/event-stream" for answer in row["answers"])
    assert entry.reply is _reply(row)


def _reply(row: dict) -> Reply:
    answer = row["answers"][0]
    if answer["status"] == 101:
        return Reply.SOCKET
    if answer["schema"].get("format") == "binary" or answer["status"] == 307:
        return Reply.BYTES
    empty = answer["type"] is None or answer["schema"] == {"type": "object"}
    return Reply.NOTHING if empty else Reply.JSON


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_every_operation_is_documented_parameter_by_parameter(name: str):
    entry = OPERATIONS[name]
    assert entry.summary.endswith(".")
    described = inspect.getdoc(entry.function)
    named = {key for key, p in entry.parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {key for key in named if not re.search(rf"^ +{key}: ", described, re.MULTILINE)} == set()


def test_importing_one_group_loads_no_other_and_the_table_loads_none():
    code = (
        "import sys, together_flows.api as api\n"
        "loaded = lambda: [g for g in api.GROUPS if f'together_flows.api.{g}' in sys.modules]\n"
        "api.CONTRACT, api.GROUPS\n"
        "assert loaded() == [], loaded()\n"
        "from together_flows.api import batches\n"
        "assert loaded() == ['batches'], loaded()\n"
        "assert api.rl.sample is api.OPERATIONS['rl.sample'].function\n"
        "assert loaded() == list(api.GROUPS)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(GROUPS) == 24


if document := contract.openapi_document():
    # Where the API's own document is at hand, the table is held against it, whole.
    def test_the_table_is_what_the_openapi_document_says():
        import yaml

        from tests.contract.compile_contract import TABLE, compile_contract, render

        compiled = compile_contract(yaml.safe_load(document.read_text(encoding="utf-8")))
        assert json.loads(render(compiled)) == json.loads(TABLE.read_text(encoding="utf-8"))
