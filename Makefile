# make demo       all three sets on built-in data, figures and verdicts; says where the results lie
# make test       lint, types and the quick tests
# make test-all   the longer tests: real data, servers
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# On a machine without a GPU, a CPU build of torch saves gigabytes: make venv PIP_ARGS="--index-url ..."
PIP_ARGS ?=

# The main job at the scale of a laptop: all three sets on built-in data, three seeds.
DEMO := studies/digits-lr-ordering.toml studies/digits-eta-lambda.toml studies/digits-batch-scaling.toml

.PHONY: venv demo test test-all lint types clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	touch $@

demo: venv
	$(BIN)/interplay study $(DEMO)
	$(BIN)/python plot_results.py --input outputs
	$(BIN)/interplay analyze outputs

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: venv
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest -m "not slow and not real_data" -n 2

test-all: venv
	$(BIN)/pytest -m "slow or real_data" --durations=10

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
