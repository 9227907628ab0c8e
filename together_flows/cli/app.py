"""The commands. Each is a thin line over the core, which is imported when the command runs: help comes at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from together_flows.cli.console import print_json, print_line, telling

app = typer.Typer(
    name="together-flows",
    help="Together AI's jobs. TOGETHER_API_KEY and TOGETHER_BASE_URL say which account they run in, and where it is.",
    epilog="Results go to standard output, everything else to standard error.",
    no_args_is_help=True,
    rich_markup_mode=None,  # help without it takes a third of the time
    pretty_exceptions_enable=False,  # they show locals, and a local may hold a key
)


class Purpose(StrEnum):
    """What a file is for."""

    FINE_TUNE = "fine-tune"
    EVAL = "eval"
    BATCH = "batch-api"


Reference = Annotated[str, typer.Argument(help="kind:id, such as fine_tune:ft-1.", show_default=False)]
PurposeOption = Annotated[Purpose, typer.Option(help="What the file is for.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PollInterval = Annotated[float, typer.Option(min=0.01, help="Seconds between two looks, in the long run.")]


@app.command(short_help="Run the Together API on this machine.")
@telling
def emulator(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    speed: Annotated[float, typer.Option(help="Emulated seconds per real second.")] = 60.0,
    data: Annotated[
        Path | None, typer.Option(help="Folder that keeps the state; otherwise it is lost at the end.")
    ] = None,
    api_key: Annotated[str, typer.Option(envvar="TOGETHER_EMULATOR_KEY", help="The key it accepts.")] = "emulator-key",
) -> None:
    """Run the Together API on this machine: no account, no network, nothing billed."""
    from together_flows.errors import ArgumentInvalid, ConfigurationInvalid

    if speed <= 0:
        raise ArgumentInvalid("--speed must be above 0.")
    if data is not None and data.exists() and not data.is_dir():
        raise ArgumentInvalid(f"{data} is no folder.", mend="Give another path with --data.")
    try:
        from together_flows.emulator.server import serve
    except ModuleNotFoundError as missing:
        raise ConfigurationInvalid(
            f"The emulator needs {missing.name}.", mend="Install it with: pip install 'together-flows[emulator]'"
        ) from None
    serve(host=host, port=port, speed=speed, data=data, api_key=api_key)


@app.command(short_help="Check a dataset, and show every problem in it.")
@telling
def validate(
    path: Annotated[str, typer.Argument(help="A local path or a storage URL.", show_default=False)],
    purpose: PurposeOption = Purpose.FINE_TUNE,
    as_json: AsJson = False,
) -> None:
    """Check a dataset, and show every problem with its line and how to mend it."""
    from together_flows.cli.checking import check_dataset

    if not check_dataset(path, purpose.value, as_json=as_json):
        raise typer.Exit(1)


@app.command()
@telling
def operations(
    name: Annotated[str, typer.Argument(help="A group, such as files; or an operation, to explain it.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the operations of the API, or explain one."""
    from together_flows.cli.calls import explain_operation, list_operations

    if "." in name:
        explain_operation(name, as_json=as_json)
    else:
        list_operations(name, as_json=as_json)


@app.command()
@telling
def call(
    operation: Annotated[
        str, typer.Argument(help="Such as fine_tunes.list; `together-flows operations` lists them.", show_default=False)
    ],
    arguments: Annotated[
        str,
        typer.Argument(help='JSON object, such as \'{"id": "ft-1"}\'; @file reads it from a file, - from stdin.'),
    ] = "{}",
    output: Annotated[Path | None, typer.Option(help="Where the bytes of a binary answer go.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print each event as it comes, one a line.")] = False,
    session_input: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes into a WebSocket session: text, in as many pieces as the option is given; or a recording's "
            "path or URL.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send one operation and print its answer as JSON. A file argument is written as "@path"."""
    from together_flows.cli.calls import send_operation

    send_operation(operation, arguments, output=output, stream=stream, session_input=session_input or [])


@app.command(short_help="Upload a dataset, and have the API check it.")
@telling
def upload(
    path: Annotated[Path, typer.Argument(help="The file.", show_default=False)],
    purpose: PurposeOption = Purpose.FINE_TUNE,
    check: Annotated[bool, typer.Option(help="Check the file before it is sent.")] = True,
    poll_interval: PollInterval = 10.0,
) -> None:
    """Upload a dataset, and wait until the API has checked it."""
    from together_flows.cli.following import upload_file

    print_json(upload_file(path, purpose.value, check=check, poll_interval=poll_interval))


@app.command(short_help="Follow a job to its end, and print its result.")
@telling
def wait(
    reference: Reference,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; then the job is cancelled.")] = None,
    poll_interval: PollInterval = 10.0,
) -> None:
    """Follow a job to its end, and print its result as JSON. Interrupting this leaves the job alone."""
    from together_flows.cli.following import wait_for

    print_json(wait_for(reference, timeout=timeout, poll_interval=poll_interval))


@app.command(short_help="End a job or an endpoint, and confirm it.")
@telling
def end(reference: Reference, as_json: AsJson = False) -> None:
    """Cancel a job, or stop and delete an endpoint, and confirm it."""
    from together_flows.cli.following import end_reference

    status = end_reference(reference)
    if as_json:
        print_json({"reference": str(status.reference), "state": str(status.state), "status": status.raw})
    else:
        print_line(status.describe())
    if not status.state.is_final:
        raise typer.Exit(1)


@app.command(short_help="Answer a file of prompts as batches.")
@telling
def batch(
    rows: Annotated[
        str, typer.Argument(help="A .jsonl or .csv file of prompts; a path or a storage URL.", show_default=False)
    ],
    output: Annotated[str, typer.Argument(help="Where the answers go; a path or a storage URL.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Model for rows that name none.")] = None,
    system: Annotated[str | None, typer.Option(help="System message for rows that begin with none.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of an answer.")] = None,
    budget: Annotated[float | None, typer.Option(help="US dollars that it may cost, at list prices.")] = None,
    max_rows: Annotated[int, typer.Option(min=1, max=50_000, help="Most rows in one batch.")] = 50_000,
    row_retries: Annotated[int, typer.Option(min=0, help="How often rows without an answer are sent again.")] = 1,
    max_failed_rows: Annotated[
        int | None, typer.Option(min=0, help="Rows that may end without an answer; all but one unless given.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that each batch may take.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="File that remembers what was submitted; .together-flows/state.sqlite beside the output."),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Submit anew, and pay anew, whatever earlier runs have done.")
    ] = False,
    poll_interval: PollInterval = 10.0,
) -> None:
    """Answer a file of prompts as batches: one line out for each row in, in order.

    Run the same command again after an interruption, a crash or a failure: it goes on where it stopped, and pays for
    nothing twice.
    """
    from together_flows import Together
    from together_flows.cli.batch import BatchWishes, default_state, raise_for_failed_rows, run_batch

    wishes = BatchWishes(
        rows=rows,
        output=output,
        model=model,
        system=system,
        max_tokens=max_tokens,
        budget=budget,
        max_rows=max_rows,
        row_retries=row_retries,
        timeout=timeout,
        poll_interval=poll_interval,
        again=again,
    )
    with Together() as client:
        result = run_batch(client, wishes, state or default_state(output))
    print_json(result)
    raise_for_failed_rows(result, max_failed_rows)


@app.command(short_help="Find jobs that run and bill although nobody wants them.")
@telling
def sweep(
    stop: Annotated[bool, typer.Option("--stop", help="End the orphans. Otherwise nothing is changed.")] = False,
    include_unclaimed: Annotated[
        bool,
        typer.Option(
            "--include-unclaimed", help="With --stop, end also what carries our marker and has no record here."
        ),
    ] = False,
    older_than: Annotated[str, typer.Option(help="End nothing younger than this, such as 90s, 10m or 2h.")] = "10m",
    state: Annotated[
        list[Path] | None,
        typer.Option(help="State file of `batch`; may be repeated. .together-flows/state.sqlite if it is there."),
    ] = None,
    airflow_url: Annotated[
        str | None,
        typer.Option(
            envvar="AIRFLOW_API_URL",
            help="An Airflow that may own jobs: its API server. AIRFLOW_API_USERNAME and AIRFLOW_API_PASSWORD, or "
            "AIRFLOW_API_TOKEN, say who asks.",
        ),
    ] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect", help="Ask the Prefect server that PREFECT_API_URL names, too.")
    ] = False,
    days: Annotated[float, typer.Option(min=0, help="How far back to look at tasks and runs that have ended.")] = 7.0,
    as_json: AsJson = False,
) -> None:
    """List what runs remotely, whose it is, and what the orphans cost an hour; end them with --stop.

    The exit code is 1 as long as an orphan runs.
    """
    from together_flows.cli.batch import default_state
    from together_flows.cli.sweeping import claim_sources, seconds_in, sweep_account
    from together_flows.jobs.sweep import SweepWishes

    own = default_state("answers.jsonl")
    states = state or ([own] if own.is_file() else [])
    sources = claim_sources(states, airflow_url=airflow_url, prefect=prefect, days=days)
    wishes = SweepWishes(stop=stop, include_unclaimed=include_unclaimed, grace=seconds_in(older_than))
    if not sweep_account(sources, wishes, as_json=as_json).is_clean:
        raise typer.Exit(1)
