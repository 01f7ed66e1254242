"""Examples in docstrings run; those of public names are tested by test_init.py, with nothing but what they import."""

import doctest
import importlib
from pathlib import Path

import pytest

import wsi_necrosis

PACKAGE = Path(wsi_necrosis.__file__).parent
MODULES = sorted(
    ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8") and path.name != "__init__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    for found in doctest.DocTestFinder(exclude_empty=True).find(module):
        if found.name.removeprefix(f"{name}.").split(".")[0] not in wsi_necrosis.__all__:
            assert doctest.DocTestRunner().run(found).failed == 0
