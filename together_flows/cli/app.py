"""The commands. Each is a thin line over the core; what needs an HTTP library is imported when the command runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from together_flows.errors import ArgumentInvalid, TogetherError

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="together-flows",
    help="Together AI's jobs. TOGETHER_API_KEY and TOGETHER_BASE_URL say which account they run in, and where it is.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # a local may hold a key
)
_out = Console()
_err = Console(stderr=True)


def _telling(command: Callable[P, R]) -> Callable[P, R]:
    """Errors of ours are told in a line, not in a traceback."""

    @wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except TogetherError as error:
            _err.print(f"[bold red]{type(error).__name__}[/]", end=": ")
            _err.print(str(error), markup=False, highlight=False)
            raise typer.Exit(1) from None

    return told


def _log(message: str, level: str) -> None:
    if level != "debug":
        colour = {"warning": "yellow", "error": "red"}.get(level, "dim")
        _err.print(f"{time.strftime('%H:%M:%S')} ", style="dim", end="")
        _err.print(message, style=colour, markup=False, highlight=False)


def _print_json(value: Any) -> None:
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True)
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@app.command()
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8765,
    speed: Annotated[float, typer.Option(help="Emulated seconds per real second.")] = 60.0,
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps the state; otherwise it is lost at the end.")
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="TOGETHER_EMULATOR_KEY", help="The key it accepts.")] = "emulator-key",
) -> None:
    """Run the Together API on this machine: no account, no network, nothing billed."""
    try:
        from together_flows.emulator.server import serve
    except ModuleNotFoundError as missing:
        _err.print(f"The emulator needs {missing.name}: pip install 'together-flows[emulator]'", markup=False)
        raise typer.Exit(1) from None
    serve(host=host, port=port, speed=speed, data=data, api_key=api_key)


@app.command()
@_telling
def validate(
    path: Annotated[str, typer.Argument(help="A local path or a storage URL.")],
    purpose: Annotated[str, typer.Option(help="fine-tune, eval or batch-api.")] = "fine-tune",
) -> None:
    """Check a dataset, and show every problem with its line and how to mend it."""
    from together_flows.datasets import validate as check

    if purpose not in ("fine-tune", "eval", "batch-api"):
        raise ArgumentInvalid(f"{purpose!r} is no purpose.", mend="Use fine-tune, eval or batch-api.")
    report = check(path, purpose=purpose)  # type: ignore[arg-type] # narrowed just above
    for problem in report.problems:
        _out.print(str(problem), markup=False, highlight=False)
    if not report.ok:
        _err.print(f"{report.problem_count} problem(s) in {report.rows} row(s).", style="red")
        raise typer.Exit(1)
    _out.print(
        f"{report.rows} rows, {report.bytes} bytes, format {report.format}, about {report.approximate_tokens} tokens. "
        f"SHA-256 {report.sha256}",
        highlight=False,
    )


@app.command()
def operations(group: Annotated[str, typer.Argument(help="Show this group only.")] = "") -> None:
    """List every operation of the API."""
    from together_flows.api import OPERATIONS

    table = Table("operation", "request", "what it does", box=None, header_style="bold")
    for name, entry in OPERATIONS.items():
        if not group or name.startswith(f"{group}."):
            table.add_row(name, f"{entry.method} {entry.path}", entry.summary)
    _out.print(table)


@app.command()
@_telling
def call(
    operation: Annotated[str, typer.Argument(help="Such as fine_tunes.list; `together-flows operations` lists them.")],
    arguments: Annotated[str, typer.Argument(help='JSON object, such as \'{"id": "ft-1"}\'.')] = "{}",
    output: Annotated[Path | None, typer.Option(help="Where the bytes of a binary answer go.")] = None,
) -> None:
    """Send one operation and print its answer as JSON."""
    from together_flows import Together
    from together_flows.api import OPERATIONS, Reply

    if operation not in OPERATIONS:
        raise ArgumentInvalid(f"There is no operation {operation!r}.", mend="`together-flows operations` lists them.")
    prepared = OPERATIONS[operation].function(**_object(arguments))
    with Together() as client:
        if prepared.reply is Reply.BYTES:
            if output is None:
                raise ArgumentInvalid(f"{operation} answers with a file.", mend="Say where it goes with --output.")
            _out.print(str(client.download(prepared, output)), markup=False)
        else:
            _print_json(client.send(prepared))


@app.command()
@_telling
def upload(
    path: Annotated[Path, typer.Argument(help="The file.")],
    purpose: Annotated[str, typer.Option(help="fine-tune, eval or batch-api.")] = "fine-tune",
    check: Annotated[bool, typer.Option(help="Check the file before it is sent.")] = True,
) -> None:
    """Upload a dataset, and wait until the API has checked it."""
    from together_flows import Together
    from together_flows.jobs import MemoryStore, submit_once

    if check:
        from together_flows.datasets import validate as check_dataset

        check_dataset(path, purpose=purpose).raise_for_problems()  # type: ignore[arg-type] # it refuses others itself
    with Together() as client:
        record = submit_once(
            client, "file", {"path": str(path), "purpose": purpose}, store=MemoryStore(), key="upload", log=_log
        )
        _print_json(_follow(client, str(record.reference), None))


@app.command()
@_telling
def wait(
    reference: Annotated[str, typer.Argument(help="kind:id, such as fine_tune:ft-1.")],
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; then the job is cancelled.")] = None,
) -> None:
    """Follow a job to its end, and print its result as JSON. Interrupting this leaves the job alone."""
    from together_flows import Together

    with Together() as client:
        _print_json(_follow(client, reference, timeout))


@app.command()
@_telling
def end(reference: Annotated[str, typer.Argument(help="kind:id, such as endpoint:endpoint-1.")]) -> None:
    """Cancel a job, or stop and delete an endpoint, and confirm it."""
    from together_flows import Together
    from together_flows.jobs import JobReference, end_job, kind_named, run

    job = JobReference.parse(reference)
    with Together() as client:
        status = run(end_job(kind_named(job.kind), job.id), client=client, log=_log)
    _out.print(status.describe(), markup=False, highlight=False)
    if not status.state.is_final:
        raise typer.Exit(1)


def _follow(client: Any, reference: str, timeout: float | None) -> dict[str, Any]:
    from together_flows.jobs import JobReference, MemoryStore, WaitPolicy, conclude, kind_named, run
    from together_flows.jobs.waiting import waiting

    job = JobReference.parse(reference)
    kind = kind_named(job.kind)
    policy = WaitPolicy(deadline=time.time() + timeout if timeout else None, interval=10.0)
    outcome = run(waiting(kind, job.id, policy), client=client, log=_log)
    return run(conclude(kind, job, outcome), client=client, store=MemoryStore(), key="wait", log=_log)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArgumentInvalid(f"The arguments are no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ArgumentInvalid("The arguments must be a JSON object.", mend='Write them as {"name": value}.')
    return value
