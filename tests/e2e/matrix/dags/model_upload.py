"""The Airflow DAGs of the kind model_upload."""

from __future__ import annotations

from tests.e2e.matrix.jobs import dags_of

globals().update(dags_of("model_upload"))
