# make demo [SYSTEM=mgo|tio2|anatase|tio2_f|tio2_vo|tio2_110|FILE.yaml]   the whole loop here: a mobility, or a map
# make test                     the test suite
# make test-cluster             a study on PostgreSQL, RabbitMQ and SLURM of this machine (root on Debian; else skipped)
# make lint                     style and types
# make docs                     the reference of every module, from its docstrings, in docs/reference
# Each makes .venv from requirements.lock when it is missing or older than the lock file.

PYTHON ?= python3
SYSTEM ?= mgo
VENV := .venv
BIN := $(VENV)/bin
export AIIDA_PATH := $(CURDIR)/demo/.aiida-none
export MPLBACKEND := Agg

.PHONY: demo test test-cluster lint docs lock clean

demo: $(VENV)/.installed
	@$(BIN)/aiida-leopold demo $(SYSTEM)

# a file stays on one worker: its tests share what they compiled, trained or ran; one worker more than there are cores,
# since those that wait for a job leave theirs idle
test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)') --dist loadfile tests

test-cluster: $(VENV)/.installed
	@tests/cluster/install.sh
	LEOPOLD_TEST_CLUSTER=1 $(BIN)/python -m pytest -rs tests/cluster

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/pdoc --output-directory docs/reference leopold_model leopold_workflows

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "aiida-leopold needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

# after a change of dependencies; needs uv (https://docs.astral.sh/uv)
lock:
	uv pip compile --universal --python-version 3.11 --extra dev --extra docs --constraint constraints.txt pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) demo build docs/reference *.egg-info
