"""How errors of the core become errors of an Airflow task."""

from __future__ import annotations

from typing import NoReturn

from together_flows.errors import TogetherError

__all__ = ["raise_for_airflow"]


def raise_for_airflow(error: TogetherError) -> NoReturn:
    """
    Raise an error in the form that tells Airflow whether a retry makes sense.

    One that a retry can mend is raised as it is, so that retry policies and callbacks see its class. Any other fails
    the task at once, with the same words.
    """
    from airflow.sdk.exceptions import AirflowFailException

    if error.retryable:
        raise error
    raise AirflowFailException(str(error)) from error
