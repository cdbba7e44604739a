# make demo   set everything up and run kdiag on the recorded cluster that comes with it
# make test   set everything up and run all checks and tests
# make proof  the long form of what shows that kdiag is right: figures, also written to docs/trust.md (minutes, root)
#
# Needs Python 3.11 or later; everything else goes into $(VENV).

VENV ?= .venv
BIN := $(VENV)/bin
# The packages to the right of the snapshot: pure functions, so there is no excuse for a branch without a test.
PURE := parse walk planes expect compare checks render model
COVERAGE_FLOOR := 95
# Parallel, but not one process per core of a very large machine.
PYTEST_JOBS ?= auto
PYTEST_FLAGS := --numprocesses $(PYTEST_JOBS) --maxprocesses 8 --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.PHONY: help demo test proof lint bench docs clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile
	@echo 'make bench  measure it against what is known, and write bench/RESULTS.md (20 minutes, as root)'
	@echo 'make lint   the checks of make test without the tests'
	@echo 'make docs   write the generated pages, schemas and completion scripts anew'
	@echo 'make clean  remove $(VENV) and everything that tools left behind'

$(VENV)/.kdiag: .ci/venv pyproject.toml
	@.ci/venv $(VENV)
	@echo 'Installing kdiag into $(VENV) …'
# Without --no-compile most of the time goes into compiling modules that are never imported.
	@$(BIN)/python -m pip install --quiet --no-compile --editable .
	@touch $@

$(VENV)/.kdiag-dev: $(VENV)/.kdiag
	@echo 'Installing the tools for development into $(VENV) …'
	@$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: $(VENV)/.kdiag
	@echo '$$ kdiag preflight --demo'
	@$(BIN)/kdiag preflight --demo; code=$$?; echo; \
	case $$code in \
	0) echo 'exit code 0: nothing was found' ;; \
	1) echo 'exit code 1: there are findings, as there should be: the recorded cluster has faults' ;; \
	*) echo "exit code $$code: the demo should end with 0 or 1" >&2; exit $$code ;; \
	esac

lint: $(VENV)/.kdiag-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest $(PYTEST_FLAGS) --cov-branch $(PURE:%=--cov=kdiag.%) --cov-fail-under=$(COVERAGE_FLOOR)

proof: $(VENV)/.kdiag-dev
	$(BIN)/python -m tests.proof

bench: $(VENV)/.kdiag-dev
	$(BIN)/python -m bench

docs: $(VENV)/.kdiag-dev
	$(BIN)/python -m tests.examples
	$(BIN)/python -m kdiag.cli.docs

clean:
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find kdiag tests -name __pycache__ -type d -prune -exec rm -rf {} +
