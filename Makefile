# `make demo` and `make test` install what they need into $(VENV), once, and run.
# They need python3 (3.10 or newer) and PyPI; as root on Debian, what is missing there is installed.

VENV ?= .venv
PYTHON ?= python3
DEMO_DIR ?= demo
PYTEST_ARGS ?= -n 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Exists while packages are being installed: found later, they are installed afresh.
UNFINISHED := $(VENV)/.unfinished

# sam2 is a source distribution and is built with the torch that is installed before it.
# vos-benchmark asks for an OpenCV with windows of its own, which would break the headless one.
BUILD_NEEDS := torch torchvision numpy setuptools wheel hatchling editables

# The napari plugin's tests open windows and draw with OpenGL: PyPI's Qt needs libraries of the
# system, and where there is no display Xvfb stands in. Without them these tests are left out.
WINDOW_PACKAGES := libdbus-1-3 libegl1 libfontconfig1 libgl1 libgl1-mesa-dri libglib2.0-0 \
	libxkbcommon0 xauth xvfb
# Videos are made with ffmpeg, and FiftyOne's App is opened in a browser.
VIDEO_PACKAGES := ffmpeg chromium
HAS_VIDEO := command -v ffmpeg >/dev/null && command -v chromium >/dev/null
HAS_WINDOWS := $(BIN)/python -c "from qtpy import QtWidgets" 2>/dev/null && \
	{ test -n "$$DISPLAY" || command -v xvfb-run >/dev/null; }
XVFB := test -n "$$DISPLAY" || ! command -v xvfb-run >/dev/null || echo xvfb-run -a
WITHOUT_WINDOWS := -p no:pytest-qt -p no:napari --ignore=tests/napari

IS_ROOT_ON_DEBIAN := test "$$(id -u)" = 0 && command -v apt-get >/dev/null
APT_INSTALL := apt-get update -q && DEBIAN_FRONTEND=noninteractive \
	apt-get install -q -y --no-install-recommends

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint format venv environment clean

help:
	@echo "make demo    track objects through a small stack with the bundled model"
	@echo "make test    run the tests"
	@echo "make lint    run ruff, mypy and import-linter"
	@echo "make format  let ruff rewrite what it can"
	@echo "make venv    install everything the tests need, and stop"
	@echo "make clean   remove $(VENV) and the tools' caches"

demo: $(READY)-demo
	$(BIN)/sam2-plugins demo --out $(DEMO_DIR)

test: $(READY)-test
	@{ $(HAS_WINDOWS); } || echo "Left out, the napari plugin's tests. They need $(WINDOW_PACKAGES)"
	OMP_NUM_THREADS=1 $$($(XVFB)) $(BIN)/python -m pytest \
	    $$({ $(HAS_WINDOWS); } || echo $(WITHOUT_WINDOWS)) $(PYTEST_ARGS)

lint: $(READY)-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(READY)-test

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# uv is fast; pip is the second way, for machines where only pip is set up to reach a registry.
# The tests start many processes, and where Python is told to write no bytecode, each of them would
# compile torch again, for several seconds: it is compiled here, as pip does anyway.
install = { $(BIN)/python -m uv pip install --compile-bytecode --python $(BIN)/python \
	    $$again $(1) || \
	$(BIN)/python -m pip install $$again $(1); }

$(READY)-demo: pyproject.toml
	@$(MAKE) --no-print-directory environment
	@again=$$(test ! -e $(UNFINISHED) || echo --force-reinstall); touch $(UNFINISHED); \
	$(call install,-e .)
	@rm $(UNFINISHED) && touch $@

$(READY)-test: pyproject.toml
	@$(MAKE) --no-print-directory environment
	@again=$$(test ! -e $(UNFINISHED) || echo --force-reinstall); touch $(UNFINISHED); \
	export SAM2_BUILD_CUDA=0; \
	$(call install,$(BUILD_NEEDS)) && $(call install,--no-build-isolation -e '.[test]') && \
	$(call install,--no-deps vos-benchmark)
	@{ $(HAS_WINDOWS) && $(HAS_VIDEO); } || \
	    { $(IS_ROOT_ON_DEBIAN) && $(APT_INSTALL) $(WINDOW_PACKAGES) $(VIDEO_PACKAGES); } || true
	@rm $(UNFINISHED) && touch $@ $(READY)-demo

# Where Python comes without ensurepip, as on Debian without python3-venv, pip is taken from PyPI;
# where that fails too, root installs python3-venv.
environment:
	@$(BIN)/python -c "" 2>/dev/null || { $(call new_environment); }
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || { \
	    $(BIN)/python -m pip --version >/dev/null 2>&1 || $(call add_pip); \
	    $(BIN)/python -m pip install --quiet --force-reinstall uv \
	        || echo "uv could not be installed; pip does its work, more slowly."; }

new_environment = $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10))" || { \
	    echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3 …" >&2; exit 1; }; \
	$(PYTHON) -m venv --clear --without-pip $(VENV)

add_pip = $(BIN)/python -m ensurepip >/dev/null 2>&1 || \
	$(BIN)/python tools/bootstrap_pip.py 2>/dev/null || { \
	    $(IS_ROOT_ON_DEBIAN) || { \
	        echo "No pip for $(PYTHON); on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	    $(APT_INSTALL) python3-venv && $(BIN)/python -m ensurepip || exit 1; }
