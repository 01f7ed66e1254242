"""Tests share code through `tests/helpers` and fixtures, so that a test file can be moved or run without another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def imported(path: Path) -> Iterator[str]:
    """Modules, and names of modules, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = "." * node.level + (node.module or "")
            yield from (f"{above}.{alias.name}" for alias in node.names)


def is_test(module: str) -> bool:
    """Whether it is a test file or a conftest: a module of the tests that is no helper."""
    ours = module.startswith((".", "tests."))
    return "conftest" in module or (ours and not module.startswith("tests.helpers."))


def test_no_file_imports_a_test_file() -> None:
    found = {
        str(path.relative_to(TESTS)): [module for module in imported(path) if is_test(module)]
        for path in TESTS.rglob("*.py")
    }
    assert {name: modules for name, modules in found.items() if modules} == {}


@pytest.mark.parametrize(
    "line",
    [
        "from tests.test_jit import x",
        "from tests.pipelines.conftest import x",
        "import tests.dataset.test_tiles",
        "from tests.dataset import test_tiles",
        "from .conftest import x",
    ],
)
def test_such_imports_are_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(line, encoding="utf-8")
    assert any(is_test(module) for module in imported(tmp_path / "file.py"))
