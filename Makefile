# make demo       a whole study on built-in data: 388 runs, the answer in ten lines, a page
# make test       lint, types and the quick tests
# make test-long  the longer tests: real data, kills, a browser
# make test-all   all of those, a real Slurm (root on Debian), a real Ray, stacks killed as other workers are, more kills
# make docs       the documentation as a site in site/; warnings are errors
# make pages      a page for each folder of results, in site/results
# make bench      what the paths through the code cost on this CPU; results under benchmarks/results
# make bench-gpu  the same on a GPU; without one, the figures that are owed
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# On a machine without a GPU, the CPU build of torch saves gigabytes:
# make venv PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'
PIP_ARGS ?=

.PHONY: venv demo test test-long test-all bench bench-gpu lint types docs pages clean

venv: $(VENV)/.installed

# The lab alone, which is all that the demo needs; the tools of its developers come on top.
$(VENV)/.lab: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e .
	touch $@

$(VENV)/.installed: $(VENV)/.lab
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e '.[dev]'
	touch $@

demo: $(VENV)/.lab
	@$(BIN)/interplay study studies/demo.toml --quiet --output_dir outputs/demo
	@echo
	@$(BIN)/interplay report outputs/demo

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: venv
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest -m "not slow and not real_data" -n 2

LONG := (slow or real_data) and not cluster and not stacks and not thorough
# What kills workers and waits for leases: it would take a busy machine for a dead worker. So the other tests run beside
# it with a low priority, on what it leaves of the machine.
TIMED := tests/contracts/test_executors.py tests/executors/test_chaos.py tests/test_distributed.py tests/cluster

test-long: venv
	@others=$$(mktemp); \
	nice -n 15 $(BIN)/pytest -m "$(LONG)" --durations=10 -n 2 --dist loadgroup $(TIMED:%=--ignore=%) > $$others 2>&1 & \
	pid=$$!; \
	$(BIN)/pytest -m "$(LONG)" --durations=10 $(TIMED); timed=$$?; \
	wait $$pid; code=$$?; cat $$others; rm -f $$others; \
	exit $$((timed > code ? timed : code))

test-all: test test-long
	$(BIN)/pytest -m "cluster or stacks or thorough" --durations=10

# The variable silences an advertisement of another program.
docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site: site/index.html; with its search: $(BIN)/python -m http.server -d site"

pages: venv
	PATH="$(CURDIR)/$(BIN):$$PATH" results/read.sh --pages site/results
	@echo "the pages: site/results/*.html"

bench: venv
	$(BIN)/python benchmarks/augmentation.py
	$(BIN)/python benchmarks/small_models.py
	$(BIN)/python benchmarks/step.py

bench-gpu: venv
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf site $(VENV) .mypy_cache .ruff_cache .pytest_cache
