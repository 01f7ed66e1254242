#!/bin/sh
# Make or mend .venv. `./setup.sh core` installs what a run needs, with torch where there is an NVIDIA GPU;
# `./setup.sh all` also what training, all slide formats and the tests need. Neither removes what the other installed.
# PYTHON names the interpreter; else python3.11 or python3.12 is taken.
set -eu
cd "$(dirname "$0")"
wanted=${1:?core or all}

fail() {
    echo "setup: $1" >&2
    exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

find_python() {
    for name in ${PYTHON:-python3.11 python3.12 python3}; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.11 or 3.12${PYTHON:+ at $PYTHON}. Install one (Debian, Ubuntu: apt install python3.11 \
python3.11-venv python3.11-dev; macOS: brew install python@3.12), or name it: make setup PYTHON=/path/to/python"
}

ask() { "$python" -c "$1" 2>/dev/null; }

require_venv() {
    ask 'import ensurepip, venv' ||
        fail "$python lacks the module venv. Debian, Ubuntu: apt install $version-venv; elsewhere install Python whole"
}

# pyradiomics, whose results the tests compare with, comes as source.
require_compiler() {
    ask 'import os, sysconfig; assert os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h"))' ||
        fail "$python lacks its C headers (Python.h), with which pyradiomics is built. Debian, Ubuntu: apt install \
$version-dev; Fedora: dnf install $version-devel"
    for name in ${CC:-cc gcc clang}; do
        if command -v "$name" >/dev/null; then return; fi
    done
    fail "there is no C compiler, with which pyradiomics is built. Debian, Ubuntu: apt install gcc; macOS: \
xcode-select --install"
}

has_gpu() { [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; }

python=$(find_python) || exit 1
version=$(ask 'import sys; print("python%d.%d" % sys.version_info[:2])')
if [ "$wanted" = all ]; then require_compiler; fi

if [ -e .venv ] && ! { fits .venv/bin/python && .venv/bin/python -c 'import pip' 2>/dev/null; }; then
    echo "setup: .venv is half-made, or of another Python, and is made again"
    rm -rf .venv
fi
if [ ! -e .venv ]; then
    require_venv
    "$python" -m venv .venv
fi

pip() { .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$@"; }
case $wanted in
core)
    if has_gpu; then extra='[torch]' size='about 6 GB, for the GPU'; else extra='' size='about 1.3 GB'; fi
    echo "setup: installing what a run needs into .venv ($size)"
    pip -e ".$extra"
    ;;
all)
    echo "setup: installing everything into .venv (about 7 GB, 3 to 5 minutes)"
    pip -e '.[all,dev]'
    # tiatoolbox brings the windowed opencv, which needs a display's libraries; the headless build of the same
    # version replaces its files.
    pip --no-deps --force-reinstall opencv-python-headless
    touch .venv/.all
    ;;
*) fail "give core or all, not $wanted" ;;
esac
touch .venv/.core
