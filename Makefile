# make run [SLIDE=slide.svs]   measure a slide; without SLIDE, a synthetic one with known areas
# make test                    lint, types, imports and all tests except slow ones: minutes, for daily work
# make test-all                all tests
# make setup                   the environment alone (.venv), with all that tests need

# PYTHON=/path/to/python names the interpreter; else setup.sh looks for python3.11 and python3.12.
VENV   := .venv
BIN    := $(VENV)/bin
CORE   := $(VENV)/.core
READY  := $(VENV)/.all
OUT    ?= wsi-necrosis-out

# A file stays in one process, since its tests share costly fixtures.
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder

.PHONY: setup run test test-all checks lint types imports kernels clean

setup: $(READY)

$(CORE): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" ./setup.sh core

$(READY): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" ./setup.sh all

run: $(CORE)
	$(BIN)/wsi-necrosis $(if $(SLIDE),run "$(SLIDE)",demo) -o "$(OUT)" $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy wsi_necrosis pipelines

imports: $(READY)
	$(BIN)/lint-imports

# Compiled once beforehand; otherwise each test process would compile them.
kernels: $(READY)
	$(BIN)/python -m tests.helpers.kernels

# In parallel, as none of them keeps more than one core busy.
checks: $(READY)
	$(MAKE) --jobs=2 lint types imports kernels

test: checks
	$(PYTEST) -n auto -m "not slow and not packaging"
	@echo "left out: tests marked slow or packaging; make test-all runs them too"

test-all: checks
	$(PYTEST) -n auto

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
