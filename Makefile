# The chores of the project. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NEWEST := .venv-newest-prefect
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test e2e survive check format lock bench newest-prefect clean

help: ## List the chores
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[all]" --group dev
	@touch $@

demo: $(VENV)/ready ## Run the whole main job on real data, in Airflow and in Prefect, against the emulator
	$(BIN)/python -m dags_examples.demo --output demo_output

test: $(VENV)/ready ## Run the tests that need no servers of their own: unit, contract, integration
	$(PYTEST) tests/unit tests/contract tests/integration -n 3 --dist loadscope

e2e: $(VENV)/ready ## Run the tests that start a real Airflow and a real Prefect server
	$(PYTEST) tests/e2e -m "e2e and not exhaustive" -n 2

survive: $(VENV)/ready ## Play the whole fault matrix: kill real processes, and print who was paid, orphaned or wrongly cancelled
	$(PYTEST) tests/e2e/matrix -m e2e -n 2

check: $(VENV)/ready ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/ready ## Pin the environment anew
	$(BIN)/uv pip compile --quiet --python $(BIN)/python --all-extras --group dev --no-header --no-annotate \
	  --no-emit-index-url --output-file constraints.txt --upgrade pyproject.toml

bench: $(VENV)/ready ## Measure what we claim about speed and size
	$(BIN)/python -m benchmarks

$(NEWEST)/ready: pyproject.toml
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(NEWEST)/bin/uv pip install --quiet --python $(NEWEST)/bin/python "prefect==3.8.8" \
	  --editable ".[prefect,emulator,cli,storage]" --group dev
	@touch $@

newest-prefect: $(NEWEST)/ready ## Run the Prefect tests on the newest Prefect, which cannot share Airflow's environment
	$(NEWEST)/bin/python -m pytest tests/unit/prefect tests/integration/prefect -n 2 --dist loadscope

clean: ## Remove what the chores made
	rm -rf $(VENV) $(NEWEST) demo_output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
