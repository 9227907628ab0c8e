"""The whole main job on real data, once as an Airflow DAG and once as a Prefect flow: `make demo`."""
