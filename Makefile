# Every target sets up what it needs in .venv; `make` alone lists them.
# Another Python or another place: make test PYTHON=python3.12 VENV=.cache/venv3.12

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# An active virtual environment, or a PYTHONPATH, must not reach the environment of these targets.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX
ASK    := import sys; v = sys.version_info; print("%d.%d" % v[:2], getattr(sys, "_base_executable", None) or sys.executable)
FOUND  := $(shell env -u PYTHONPATH -u PYTHONHOME $(PYTHON) -c '$(ASK)' 2>/dev/null)
LOCKED := $(VENV)/.locked-$(firstword $(FOUND))-$(shell cksum requirements.lock | cut -d ' ' -f 1)
READY  := $(VENV)/.ready
PEERS  := $(VENV)/.bench
RUN    := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest -q -n $(JOBS) --dist worksteal --doctest-modules
LOCK   := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
          --no-header --extra dev --extra experiments pyproject.toml -o requirements.lock

.PHONY: help demo test test-all drill bench lint lock clean FORCE

help:
	@echo 'make demo      trains a small character model on the source of the standard library and shows its samples (minutes)'
	@echo 'make test      the tests, and the examples in docstrings'
	@echo 'make test-all  those and the slow ones, all as XLA optimizes them for a user'
	@echo 'make drill     kills, stops, starves and damages runs, which must lose nothing (half an hour)'
	@echo 'make bench     times seqjax beside Flax, Keras, Haiku, Equinox and PyTorch, with pictures (10 to 20 minutes)'
	@echo 'make lint      ruff and pyright'
	@echo 'make lock      requirements.lock anew from pyproject.toml (LOCK_FLAGS=--upgrade takes newer versions)'
	@echo 'make clean     removes $(VENV), caches and build output; keeps runs/'

demo: $(READY)
	@$(RUN) -m experiments.language_model demo

test: $(READY)
	@$(PYTEST) -m 'not slow' tests seqjax

test-all: $(READY)
	@SEQJAX_TEST_OPTIMIZED=1 $(PYTEST) tests seqjax

drill: $(READY)
	@$(RUN) -m tests.drill

bench: $(PEERS)
	@$(RUN) -m benchmarks --out benchmarks/results

# The libraries that seqjax is compared with are not in the lock.
$(PEERS): $(READY)
	@echo 'installing the libraries that seqjax is compared with, once'
	@$(RUN) -m pip --disable-pip-version-check install --quiet --no-build-isolation -e '.[bench]'
	@touch $@

lint: $(READY)
	@failed=0; \
	$(RUN) -m ruff check . || failed=1; \
	$(RUN) -m ruff format --check . || failed=1; \
	$(RUN) -m pyright --pythonpath $(RUN) || failed=1; \
	exit $$failed

# The environment is made anew whenever Python or the lock changes, and after an interrupted set-up.
$(LOCKED): $(if $(shell test -x $(RUN) || echo gone),FORCE)
	@test -n "$(FOUND)" || { echo 'error: $(PYTHON) does not run: name a Python of 3.11 or newer, e.g. make PYTHON=python3.12'; exit 1; }
	@$(lastword $(FOUND)) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'error: $(PYTHON) is Python $(firstword $(FOUND)), seqjax needs 3.11 or newer: e.g. make PYTHON=python3.12'; exit 1; }
	@echo 'setting up $(VENV) with Python $(firstword $(FOUND)): '$$(grep -c '^[a-z].*==' requirements.lock)' locked packages, a minute or so'
	@$(lastword $(FOUND)) -m venv --clear $(VENV)
	@$(RUN) -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(RUN) -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock:
	@$(lastword $(FOUND)) -m venv --clear .cache/lock
	@.cache/lock/bin/python -m pip --disable-pip-version-check install --quiet uv
	@.cache/lock/bin/$(LOCK) $(LOCK_FLAGS)

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
