"""The operator that finds what runs remotely although no task wants it any more, and stops it when told to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider.claims import OPERATORS, AirflowClaims
from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook, address_of
from airflow_provider.operators.base import number
from airflow_provider.rest_api import AirflowApi
from together_flows.errors import ArgumentInvalid, ConfigurationInvalid, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.sweep_report import SweepReport

__all__ = ["TogetherSweepOperator"]

#: Most jobs of which an XCom tells. The log tells of all.
_XCOM_JOBS = 100


class TogetherSweepOperator(BaseOperator):
    """
    List what runs at Together AI and which task it belongs to, and stop the orphans when told to.

    An orphan is a job that its task can want no more: the task failed for good, or was stopped by a person, and the job
    still runs and bills. A job that ends by itself is left, for whoever clears its task adopts it. What a task that has
    succeeded deployed is kept, unless it has a teardown that is over. What carries no marker of ours is never touched.

    Tasks may not read Airflow's database, so this reads the task instances and their state stores through Airflow's
    REST API, with a connection of its own: its host is the API server's address, login and password are those of a user
    who may read task instances. A password without a login is taken for a token.

    Returns ``summary``, ``clean``, ``counts``, ``remaining``, ``remaining_usd_per_hour``, ``notes`` and of the first
    hundred ``jobs`` what each is, whose, how old and how dear; each is an XCom of its own too.

    :param stop: stop the orphans. Unless told, they are only reported. (templated)
    :param include_unclaimed: with ``stop``, also stop what carries a marker of ours and has no record in this Airflow.
        Another Airflow, a Prefect or a command may own it. (templated)
    :param grace: end nothing that is younger than this, as ``timedelta`` or in seconds. (templated)
    :param days: look at tasks that have changed in the last so many days, and at all that have not ended. (templated)
    :param operators: SQL pattern of the names of the operators that submit jobs. Widen it if a class of yours that is
        derived from ours has a name without "Together": its jobs count as unclaimed otherwise. (templated)
    :param fail_on_orphans: fail the task if orphans are left running, so that Airflow alerts somebody. (templated)
    :param airflow_conn_id: id of the connection to Airflow's own REST API. (templated)
    :param together_conn_id: id of the connection to the account that is swept. (templated)
    """

    template_fields: Sequence[str] = (
        "stop",
        "include_unclaimed",
        "grace",
        "days",
        "operators",
        "fail_on_orphans",
        "airflow_conn_id",
        "together_conn_id",
    )
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        stop: bool | str = False,
        include_unclaimed: bool | str = False,
        grace: timedelta | float | str = timedelta(minutes=10),
        days: float | str = 7.0,
        operators: str = OPERATORS,
        fail_on_orphans: bool | str = False,
        airflow_conn_id: str = "airflow_api",
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.stop = stop
        self.include_unclaimed = include_unclaimed
        self.grace = grace
        self.days = days
        self.operators = operators
        self.fail_on_orphans = fail_on_orphans
        self.airflow_conn_id = airflow_conn_id
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the account's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Sweep, and tell what was found."""
        try:
            report = self._sweep()
            self.log.log(logging.INFO if report.is_clean else logging.WARNING, "%s", report.text())
            self._raise_for_orphans(report)
        except TogetherError as error:
            raise_for_airflow(error)
        return report.to_dict(most=_XCOM_JOBS)

    def _sweep(self) -> SweepReport:
        from together_flows.jobs.sweep import SweepWishes, sweep

        grace = self.grace.total_seconds() if isinstance(self.grace, timedelta) else number(self.grace, "grace")
        wishes = SweepWishes(
            stop=_flag(self.stop, "stop"),
            include_unclaimed=_flag(self.include_unclaimed, "include_unclaimed"),
            grace=SweepWishes.grace if grace is None else grace,
        )
        claims = AirflowClaims(api=self._api(), days=number(self.days, "days") or 0.0, operators=self.operators)
        return sweep(self.hook.client, [claims], wishes, log=self._say)

    def _raise_for_orphans(self, report: SweepReport) -> None:
        if report.remaining and (report.stopping or _flag(self.fail_on_orphans, "fail_on_orphans")):
            raise TogetherError(
                report.headline(),
                mend="The log says which and why." if report.stopping else "Run the task with stop=True to stop them.",
                retryable=report.stopping,
            )

    def _api(self) -> AirflowApi:
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            connection = BaseHook.get_connection(self.airflow_conn_id)
        except AirflowNotFoundException:
            connection = None
        address = address_of(connection) if connection else None
        if connection is None or address is None:
            raise ConfigurationInvalid(
                f"There is no Airflow connection {self.airflow_conn_id!r} with a host.",
                mend=(
                    f"Create it: airflow connections add {self.airflow_conn_id} --conn-type generic "
                    "--conn-host <the API server's URL> --conn-login <user> --conn-password <password>."
                ),
            )
        secret = connection.password or ""
        if connection.login:
            return AirflowApi(url=address, username=connection.login, password=secret)
        return AirflowApi(url=address, token=secret)

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


def _flag(value: bool | str, name: str) -> bool:
    """A yes or no that may have come out of a template as text."""
    match str(value).strip().lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no" | "none" | "":
            return False
    raise ArgumentInvalid(f"{name} must be true or false, not {value!r}.")
