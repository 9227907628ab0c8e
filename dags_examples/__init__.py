"""Airflow DAGs and Prefect flows that run as they are, against the emulator or the live service."""
