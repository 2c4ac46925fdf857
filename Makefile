# Countersign: `make serve` and `make test` set up everything they need; `make help` lists the rest.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
HOST ?= 127.0.0.1
PORT ?= 8000
WEIGHTS ?= weights/countersign-6
# Two more than the cores, at most six: a test that waits for a process leaves its core to another test.
TEST_WORKERS ?= $(shell n=$$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN); echo $$((n > 4 ? 6 : n + 2)))

.PHONY: help setup serve demo test test-cluster fuzz lint audit docs lock clean benchmark-accuracy benchmark-serving benchmark-load \
	benchmark-identify benchmark-bulk benchmark-robustness benchmark-documents

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; none was found as python3.13, 3.12, 3.11 or python3." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/serving: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service into $(VENV): some 350 MB with a CPU build of PyTorch, 3 GB with the CUDA build that PyPI has for Linux. It takes a minute or more."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/complete: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service, training and the tests into $(VENV): somewhat more than the 350 MB (CUDA build of PyTorch: 3 GB) of the service. It takes minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,tracing,index,bulk,remote,dev]'
	@touch $@ $(VENV)/serving

$(VENV)/cluster: $(VENV)/complete
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@touch $@

setup: $(VENV)/complete ## install everything into .venv

serve: $(VENV)/serving ## serve on http://127.0.0.1:8000 with the released weights and an SQLite file in var/
	$(BIN)/python -m app serve --host $(HOST) --port $(PORT)

demo: $(VENV)/serving ## serve the review desk with cases that the synthetic writer draws, in a store of its own in var/demo
	$(BIN)/python -m app demo --host $(HOST) --port $(PORT)

test: $(VENV)/complete ## run the tests, in up to 6 processes (TEST_WORKERS=n for another number)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup -m "not alone and not cluster"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "alone and not cluster" $$(grep -rl "mark\.alone" --include="test_*.py" tests)

test-cluster: $(VENV)/cluster ## run the tests in a Ray cluster of two nodes on this machine (a few minutes)
	CI=$${CI:-1} OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster

fuzz: $(VENV)/complete ## send 20,000 broken requests (FUZZ_SEED=n for others)
	OMP_NUM_THREADS=1 FUZZ_CASES=20000 FUZZ_SECONDS=3600 $(BIN)/python -m pytest tests/app/test_fuzz.py -s --timeout 3600

lint: $(VENV)/complete ## ruff, mypy, bandit and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive app model
	$(BIN)/lint-imports --no-cache

audit: $(VENV)/complete ## known vulnerabilities of the pinned packages; says so and goes on where it cannot ask
	$(BIN)/python .ci/audit

lock: $(VENV)/cluster ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' > constraints.txt

docs: $(VENV)/complete ## build the documentation as a site in site/; broken links are errors
	$(BIN)/mkdocs build --strict --quiet

benchmark-accuracy: $(VENV)/complete ## README's accuracy table and the errors on the cards (needs the data: SIGNATURE_DATA)
	$(BIN)/python benchmarks/accuracy.py
	$(BIN)/python -m benchmarks.cards

benchmark-serving: $(VENV)/complete ## what a request costs beside the bare network
	$(BIN)/python benchmarks/serving.py --weights $(WEIGHTS)

benchmark-load: $(VENV)/complete ## the service under load beside the bare network (a quiet machine, a few minutes)
	PYTHONPATH=. $(BIN)/python benchmarks/load.py --weights $(WEIGHTS)

benchmark-identify: $(VENV)/complete ## identification among 10,000 to a million signers: recall, durations, memory (long; a quiet machine)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.identify --weights $(WEIGHTS)

benchmark-bulk: $(VENV)/cluster ## a bulk job on local processes and in a Ray cluster beside the bare computation (a few minutes)
	$(BIN)/python -m benchmarks.bulk --weights $(WEIGHTS) --rows 400 --rounds 3 --ray

benchmark-robustness: $(VENV)/complete ## what scanners and pens cost beside a forgery
	$(BIN)/python benchmarks/robustness.py $(WEIGHTS)

benchmark-documents: $(VENV)/complete ## finding signatures on pages, and what it costs in accuracy (needs the data)
	$(BIN)/python -m benchmarks.documents $(WEIGHTS)

clean: ## remove the environment and the caches, keep var/ and runs/
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache site *.egg-info
