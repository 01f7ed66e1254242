import subprocess
import sys

import pytest

import wsi_necrosis


def test_every_public_name_is_there() -> None:
    for name in wsi_necrosis.__all__:
        assert getattr(wsi_necrosis, name).__name__ == name
        assert name in dir(wsi_necrosis)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        wsi_necrosis.nothing  # noqa: B018  # looking is the test


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, wsi_necrosis; print([m for m in sys.modules if m.startswith('wsi_necrosis.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
