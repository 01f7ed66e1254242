# make run [SLIDE=slide.svs]   measure a slide; without SLIDE, a synthetic one of known truth
# make test                    lint, types, floors and tests: the one gate
# make setup                   the environment alone (.venv)

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OUT    ?= wsi-necrosis-out

.PHONY: setup run test lint types floors clean

setup: $(READY)

# tiatoolbox brings the windowed opencv, which needs a display's libraries; the headless build of the
# same version replaces its files.
$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV): about 7 GB, 3 to 5 minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps --force-reinstall opencv-python-headless
	touch $@

run: $(READY)
	$(BIN)/wsi-necrosis $(if $(SLIDE),run "$(SLIDE)",demo) -o "$(OUT)" $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy wsi_necrosis pipelines

floors: $(READY)
	$(BIN)/lint-imports

# A file of tests stays in one process, since its tests share what is costly to make.
test: lint types floors
	$(BIN)/pytest -n auto --dist loadfile

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
