from __future__ import annotations

import ctypes.util
import logging
import sys
import warnings

import pytest

from wsi_necrosis.errors import MissingExtraError
from wsi_necrosis.slides import tiatoolbox_import
from wsi_necrosis.slides.tiatoolbox_import import alone_and_quiet, find_openjpeg, reader_class


@pytest.fixture
def needs_tiatoolbox():
    pytest.importorskip("tiatoolbox")


@pytest.mark.usefixtures("needs_tiatoolbox")
def test_importing_tiatoolbox_leaves_logging_and_warnings_alone():
    root, show = list(logging.getLogger().handlers), warnings.showwarning
    assert reader_class("JPEG 2000", "JP2WSIReader").__name__ == "JP2WSIReader"
    assert logging.getLogger().handlers == root
    assert warnings.showwarning is show


def refuse(monkeypatch, error):
    """Make every import of tiatoolbox fail with `error`."""
    for name in [name for name in sys.modules if name.split(".")[0] == "tiatoolbox"]:
        monkeypatch.delitem(sys.modules, name)

    class Refusal:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name.split(".")[0] == "tiatoolbox":
                raise error

    monkeypatch.setattr(sys, "meta_path", [Refusal, *sys.meta_path])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ModuleNotFoundError("No module named 'tiatoolbox'", name="tiatoolbox"),
            r"pip install 'wsi-necrosis\[tiatoolbox\]'",
        ),
        (ImportError("libGL.so.1: cannot open shared object file"), "libGL.*opencv-python-headless"),
        (OSError("libGL.so.1: cannot open shared object file"), "libGL.*opencv-python-headless"),
    ],
)
def test_a_tiatoolbox_that_cannot_be_imported_names_the_way_out(monkeypatch, error, message):
    refuse(monkeypatch, error)
    with pytest.raises(MissingExtraError, match=message) as caught:
        reader_class("OME-Zarr", "NGFFWSIReader")
    assert caught.value.exit_code == 2
    assert "OME-Zarr" in str(caught.value)


def test_a_missing_package_of_tiatoolbox_is_not_reported_as_a_missing_extra(monkeypatch):
    refuse(monkeypatch, ModuleNotFoundError("No module named 'cv3'", name="cv3"))
    with pytest.raises(ModuleNotFoundError, match="cv3"):
        reader_class("OME-Zarr", "NGFFWSIReader")


@pytest.fixture
def without_openjpeg(monkeypatch, tmp_path):
    """A system where glymur, imported anew, finds no OpenJPEG; afterwards all is as before."""
    pytest.importorskip("glymur")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    for name in [name for name in sys.modules if name.split(".")[0] == "glymur"]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "glymur"]:
        del sys.modules[name]


@pytest.mark.usefixtures("without_openjpeg")
def test_openjpeg_of_imagecodecs_replaces_that_of_the_system(tmp_path):
    find_openjpeg()
    import glymur  # looks for OpenJPEG when it is imported

    assert int(glymur.version.openjpeg_version.split(".")[0]) >= 2
    assert tiatoolbox_import.os.environ["XDG_CONFIG_HOME"] == str(tmp_path)


@pytest.mark.usefixtures("without_openjpeg")
def test_no_openjpeg_at_all_names_the_way_out(monkeypatch):
    monkeypatch.setattr(tiatoolbox_import, "files", lambda name: [])
    with pytest.raises(MissingExtraError, match="libopenjp2-7"):
        find_openjpeg()


def test_only_errors_pass_while_quiet(caplog):
    with alone_and_quiet():
        warnings.warn("of a library", UserWarning, stacklevel=1)
        logging.getLogger().warning("a guess")
        logging.getLogger().error("a failure")
    logging.getLogger().warning("afterwards")
    assert caplog.messages == ["a failure", "afterwards"]
