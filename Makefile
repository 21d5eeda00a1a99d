# One Block, Two Names: every command of the book. `make help` lists them.
#
# make PYTHON=python3.12 lab         another Python
# make LAB_FLAGS="--port 9000" lab   flags for JupyterLab

PYTHON ?= python3
LAB_FLAGS ?=
TEST_FLAGS ?=

VENV := .venv
PY := $(VENV)/bin/python
# Everything that is installed stands behind this one file: newer than the lock, nothing to do.
STAMP := $(VENV)/.installed
# Nothing but uv itself is installed with pip: 6 seconds instead of 80.
UV := uv==0.13.9

# uv does not read PIP_FIND_LINKS. Where it names a folder of wheels (a CPU build of PyTorch), pass
# it on; the folder is read by the shell, so that it may hold spaces.
FIND_LINKS := $${PIP_FIND_LINKS:+--find-links "$$PIP_FIND_LINKS"}

# Large sums differ between processors and thread counts: outputs are stored and compared on one
# thread, without the processor's own instructions. The book's own commands set the same.
COMPARABLE := OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE

.DEFAULT_GOAL := help
.PHONY: help setup lab edit test book slides student refresh sync experiments bench lock clean

help:  ## this list
	@echo "One Block, Two Names"
	@echo
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

setup: $(STAMP)  ## install everything into .venv (once)

$(STAMP): requirements.txt pyproject.toml
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "No $(PYTHON) found. Install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3 lab" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This book needs Python 3.11 or newer; $(PYTHON) is $$("$(PYTHON)" -V 2>&1). Name a newer one: make PYTHON=python3.12 lab" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@test -x "$(PY)" || { echo "Making $(VENV)"; "$(PYTHON)" -m venv $(VENV); }
	@"$(PY)" -m uv --version >/dev/null 2>&1 || "$(PY)" -m pip install --quiet --disable-pip-version-check "$(UV)"
	@echo "Installing what requirements.txt names"
	@"$(PY)" -m uv pip install --quiet --python "$(PY)" $(FIND_LINKS) -r requirements.txt
	@"$(PY)" -m uv pip install --quiet --python "$(PY)" --no-build-isolation --no-deps -e .
	@touch $(STAMP)

lab: $(STAMP)  ## read the book in JupyterLab, on your own copies in my/
	@$(PY) -m book lab $(LAB_FLAGS)

edit: $(STAMP)  ## write the book in JupyterLab, on notebooks/ itself
	@$(PY) -m book edit $(LAB_FLAGS)

test: $(STAMP)  ## everything that can fail
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(COMPARABLE) $(PY) -m pytest -n 2 --dist loadfile --nbval --nbval-current-env \
	  --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout 120 \
	  --cov=helpers --cov-report=term --cov-fail-under=95 \
	  notebooks $(wildcard tests/test_*.ipynb)
	$(PY) -m book book
	$(PY) -m book slides
	$(PY) -m book student
	$(COMPARABLE) $(PY) -m pytest -n 2 --dist loadfile $(TEST_FLAGS) \
	  --doctest-modules helpers book/lock.py book/pages.py tests

book: $(STAMP)  ## the static book, in _build/book/index.html
	@$(PY) -m book book

slides: $(STAMP)  ## the slides, in _build/slides/NN_name.html
	@$(PY) -m book slides

student: $(STAMP)  ## the notebooks without their solutions, in _build/student/
	@$(PY) -m book student

refresh: $(STAMP)  ## run the notebooks and store their outputs (ONLY=01 for one)
	@$(PY) -m book refresh $(ONLY)

sync: $(STAMP)  ## bring each notebook and its Markdown twin together
	@$(PY) -m book sync

experiments: $(STAMP)  ## make the recorded training runs of notebooks 09 and 10 that are missing
	@$(PY) -m helpers.experiments
	@$(PY) -m helpers.designs

bench: $(STAMP)  ## measure the book against its budgets
	@$(PY) -m tests.bench

lock: $(STAMP)  ## choose new exact versions for requirements.txt
	@$(PY) -m book lock

clean:  ## remove what was built (not .venv, never my/)
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
