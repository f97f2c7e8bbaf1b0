# Needs Python 3.11 or later and make; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint format types imports unit lock docs bench clean

help: ## Shows these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(INSTALLED) ## Runs the main job end to end, then stays up (ONCE=1: ends)
	@$(BIN)/bailiwick demo $(if $(ONCE),--once)

serve: $(INSTALLED) ## Runs the server
	@$(BIN)/bailiwick serve

test: lint types imports unit ## Runs everything: lint, types, import rules, all tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED) ## Formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED)
	$(BIN)/mypy

imports: $(INSTALLED)
	$(BIN)/lint-imports

unit: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist loadgroup --durations 15

lock: ## Renews requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --group pyproject.toml:dev pyproject.toml -o requirements.lock

docs: $(INSTALLED) ## Renews the generated pages of docs/reference
	$(BIN)/bailiwick settings --markdown > docs/reference/settings.md
	$(BIN)/bailiwick errors --markdown > docs/reference/errors.md
	$(BIN)/bailiwick commands > docs/reference/cli.md

bench: $(INSTALLED) ## Runs the benchmarks of docs/benchmarks.md
	$(BIN)/bailiwick bench dlp
	$(BIN)/bailiwick bench invoke --markdown docs/benchmarks.md
	$(BIN)/bailiwick bench gateway --markdown docs/benchmarks.md

clean: ## Removes the environment and caches; leaves .bailiwick, your data, alone
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
