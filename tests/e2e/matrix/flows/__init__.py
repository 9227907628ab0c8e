"""The Prefect flows that the matrix plays, and the process that serves them."""
