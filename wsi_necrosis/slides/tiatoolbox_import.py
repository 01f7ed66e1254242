"""Import tiatoolbox's readers without their effects on logging, warnings and the terminal."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import files
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import MissingExtraError

NO_OPENJPEG = "0.0.0"  # the version that glymur reports where it has not found the library
ONE_AT_A_TIME = threading.Lock()


def reader_class(kind: str, name: str) -> Any:
    """One of tiatoolbox's reader classes for slides of a kind; errors as `class_of`."""
    return class_of("wsicore.wsireader", name, f"{kind} slides")


def class_of(module: str, name: str, purpose: str) -> Any:
    """One of tiatoolbox's classes, imported where needed: it is an extra, and takes ten seconds.

    Parameters
    ----------
    module, name : str
        The module within tiatoolbox, and the class in it.
    purpose : str
        What it is for, in the plural; named in messages.

    Raises
    ------
    MissingExtraError
        tiatoolbox is not installed, or cannot be imported.
    """
    try:
        with _quiet_import():
            return getattr(importlib.import_module("tiatoolbox." + module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "tiatoolbox":
            raise
        raise MissingExtraError(
            f"{purpose} need tiatoolbox; install it with: pip install 'wsi-necrosis[tiatoolbox]'"
        ) from error
    except (ImportError, OSError) as error:  # its OpenCV needs libGL, glib and X11 libraries
        raise MissingExtraError(
            f"tiatoolbox, which {purpose} need, cannot be imported ({error}); where a graphics library "
            "is missing: pip install --force-reinstall --no-deps opencv-python-headless"
        ) from error


def find_openjpeg() -> None:
    """Let glymur use the OpenJPEG that imagecodecs brings, where the system has none.

    glymur looks for the library once, when it is imported, and first at the path in its configuration file.

    Raises
    ------
    MissingExtraError
        There is no OpenJPEG at all.
    """
    with alone_and_quiet():
        if importlib.import_module("glymur.version").openjpeg_version != NO_OPENJPEG:
            return
        bundled = [file.locate() for file in files("imagecodecs") or () if "openjp2" in file.name]
        if not bundled:
            raise MissingExtraError(
                "JPEG 2000 slides need the library OpenJPEG; install it (Debian: libopenjp2-7; conda: openjpeg)"
            )
        for name in [name for name in sys.modules if name.split(".")[0] == "glymur"]:
            del sys.modules[name]
        with tempfile.TemporaryDirectory() as folder, _environment("XDG_CONFIG_HOME", folder):
            settings = Path(folder, "glymur", "glymurrc")
            settings.parent.mkdir()
            settings.write_text(f"[library]\nopenjp2: {bundled[0]}\n", "utf-8")
            importlib.import_module("glymur")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


@contextmanager
def alone_and_quiet() -> Iterator[None]:
    """Let one thread at a time use tiatoolbox or glymur, with their warnings and messages below errors hidden.

    glymur keeps the parameters of a read in the open image; and glymur and this function change the filters
    of warnings, which all threads share. tiatoolbox logs guesses of metadata, which are not used here.
    """
    root = logging.getLogger()
    with ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root.addFilter(_is_error)
        try:
            yield
        finally:
            root.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Keep tiatoolbox from taking over the root logger and Python's warnings, as its import does."""
    root, guard, show = logging.getLogger(), logging.NullHandler(), warnings.showwarning
    root.addHandler(guard)
    try:
        yield
    finally:
        root.removeHandler(guard)
        if warnings.showwarning is not show:
            logging.captureWarnings(capture=False)
