"""The sweep from the command line: whose jobs run, what the orphans cost, and their end when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from together_flows import Together
from together_flows.cli.batch import works_on
from together_flows.cli.console import print_json, print_line, print_table, say
from together_flows.errors import ArgumentInvalid, ConfigurationInvalid
from together_flows.jobs import JobRecord, SqliteStore, TaskOutcome
from together_flows.jobs.claim import Claim, ClaimSource, Standing
from together_flows.jobs.sweep import SweepWishes, sweep
from together_flows.jobs.sweep_report import COLUMNS, SweepReport

__all__ = ["CommandClaims", "claim_sources", "seconds_in", "sweep_account"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True)
class CommandClaims:
    """The claims of this command's own earlier runs. A `ClaimSource`.

    Attributes:
        state: the SQLite file in which they remembered what they submitted.
    """

    state: Path

    def claims(self) -> Iterator[Claim]:
        """The jobs that runs of the command have submitted."""
        store = SqliteStore(self.state)
        for key in store.keys():  # noqa: SIM118 - a store is no mapping
            claim = self._claim(store, key)
            if claim is not None:
                yield claim

    def _claim(self, store: SqliteStore, key: str) -> Claim | None:
        record = store.load(key)
        if record is None:
            return None
        standing = Standing.ACTIVE if works_on(self.state, key) else _standing(record)
        return Claim(
            record=record,
            owner=f"together-flows, {self.state}",
            owner_state="running" if standing is Standing.ACTIVE else "not running",
            standing=standing,
            renew=partial(self._claim, store, key),
            store=store,
            key=key,
        )


def _standing(record: JobRecord) -> Standing:
    return Standing.SUCCEEDED if record.outcome is TaskOutcome.SUCCEEDED else Standing.FAILED


def claim_sources(states: Sequence[Path], *, airflow_url: str | None, prefect: bool, days: float) -> list[ClaimSource]:
    """Where to ask whose jobs are whose.

    Args:
        states: files of this command's own.
        airflow_url: address of an Airflow's API server. `AIRFLOW_API_USERNAME` and `AIRFLOW_API_PASSWORD`, or
            `AIRFLOW_API_TOKEN`, say who asks.
        prefect: whether to ask the Prefect server that Prefect's settings name.
        days: how far back to look at what has ended.

    Raises:
        ArgumentInvalid: there is no such file.
        ConfigurationInvalid: Prefect is not installed.
    """
    sources: list[ClaimSource] = []
    for state in states:
        if not state.is_file():
            raise ArgumentInvalid(f"There is no file {state}.", mend="Give the file that --state of `batch` names.")
        sources.append(CommandClaims(state))
    if airflow_url:
        sources.append(_airflow(airflow_url, days))
    if prefect:
        try:
            from together_flows.prefect.claims import PrefectClaims
        except ModuleNotFoundError as missing:
            raise ConfigurationInvalid(
                f"--prefect needs {missing.name}.", mend="Install it with: pip install 'together-flows[prefect]'"
            ) from None
        sources.append(PrefectClaims(days=days))
    return sources


def _airflow(url: str, days: float) -> ClaimSource:
    from airflow_provider.claims import AirflowClaims
    from airflow_provider.rest_api import AirflowApi

    api = AirflowApi(
        url=url,
        username=os.environ.get("AIRFLOW_API_USERNAME", ""),
        password=os.environ.get("AIRFLOW_API_PASSWORD", ""),
        token=os.environ.get("AIRFLOW_API_TOKEN", ""),
    )
    return AirflowClaims(api=api, days=days)


def sweep_account(sources: Sequence[ClaimSource], wishes: SweepWishes, *, as_json: bool) -> SweepReport:
    """Sweep the account that the environment names, and print what was found."""
    with Together() as client:
        report = sweep(client, sources, wishes, log=say)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    return report


def _print(report: SweepReport) -> None:
    print_line(report.headline())
    if rows := report.rows():
        print_table(COLUMNS, rows, alarming=["orphan"])
    for note in report.notes():
        print_line(note)
    if report.remaining and not report.stopping:
        say("To stop the orphans: the same command with --stop.", "warning")


def seconds_in(text: str) -> float:
    """A duration such as `90s`, `10m`, `2h` or `1d`, in seconds; a bare number is seconds.

    Raises:
        ArgumentInvalid: it is none.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    try:
        seconds = float(number) * _UNITS[unit]
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ArgumentInvalid(f"{text!r} is no duration.", mend="Write it like 90s, 10m, 2h or 1d.")
    return seconds
