# The front doors. All that is needed is make and a python3 of 3.11 to 3.13; `make help` lists them.

PYTHON ?= python3
VENV := .venv/bin
ARGS ?=
WORKERS ?= 2
IMAGE ?= retail-platform:dev

# Without bytecode every start would compile the libraries again: two to three times as long.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup ready demo dev test soak lint audit bench wheel image terraform lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Bring all that is needed: .venv, packages, jars; once, then nothing is downloaded
	@$(PYTHON) retail_platform/embedded/bootstrap.py

ready:
	@$(PYTHON) retail_platform/embedded/bootstrap.py --quiet

demo: ready ## The main job on real data: Kafka, stream, lake, warehouse, dbt, checks, KPI file
	@$(VENV)/retail demo $(ARGS)

dev: ready ## The platform with Dagster's UI, until Ctrl-C
	@$(VENV)/retail dev $(ARGS)

test: ready ## Run the tests, on a real broker and a real Spark (ARGS="-k broker" runs some)
	@$(VENV)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

soak: ready ## Run the long tests that `make test` leaves out
	@$(VENV)/pytest -m soak $(ARGS)

lint: ready ## Check style, format, types and the direction of the imports
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

audit: ready ## Look the locked packages up among the known vulnerabilities (needs the network)
	@.ci/audit $(ARGS)

bench: ready ## Measure this machine; the result file names it and the versions
	@$(VENV)/python -m benchmarks $(ARGS)

wheel: ready ## Build the wheel into dist/
	@$(VENV)/uv build --quiet --wheel --no-build-isolation --out-dir dist

image: ## Build the container image (IMAGE=…; ARGS as `docker buildx build` takes them)
	@docker buildx build --file docker/Dockerfile --tag $(IMAGE) $(ARGS) .

terraform: ready ## Check deploy/aws with its provider, moto in the place of AWS (needs terraform, and the network once)
	@terraform -chdir=deploy/aws init -backend=false -input=false $(TERRAFORM_PLUGINS:%=-plugin-dir=%)
	@$(VENV)/pytest -m "" retail_platform_tests/deploy/test_terraform.py retail_platform_tests/deploy/test_provider.py $(ARGS)

lock: ready ## Write requirements.lock again from pyproject.toml (needs the network)
	@$(VENV)/uv pip compile pyproject.toml --group dev --group setup --universal --python-version 3.11 \
		--generate-hashes --no-header --output-file requirements.lock

clean: ## Remove .venv and the tools' caches; data stays (`retail reset` removes that)
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@rm -rf dbt_project/target dbt_project/logs
