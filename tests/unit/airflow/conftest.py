"""Gives Airflow a home of the tests' own before a test imports it."""

from __future__ import annotations

from tests.integration.airflow.home import HOME

__all__ = ["HOME"]
