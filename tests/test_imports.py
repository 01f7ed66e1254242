"""Imports are seen by the layer contract, wait only for a reason, and lead from tests to helpers alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PACKAGES = ("wsi_necrosis", "pipelines")
FILES = sorted(path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py"))
INITS = [path for path in FILES if path.name == "__init__.py"]
EVERY_COMMAND_WAITS = {"cli.py"}  # a command imports its job when it is called: the file's docstring says so
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


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


def hidden(path: Path) -> list[int]:
    """Lines that import one of our modules by a string, which neither the layer contract nor mypy sees."""
    calls = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    )
    by_string = [
        call for call in calls if ast.unparse(call.func).split(".")[-1] in {"import_module", "__import__"}
    ]
    return [
        call.lineno
        for call in by_string
        if not re.match(r"'(tiatoolbox|glymur)\b", ast.unparse(call.args[0]))
    ]


@pytest.mark.parametrize("folder", [*PACKAGES, "benchmarks"])
def test_no_import_hides_in_a_string(folder: str) -> None:
    found = {str(path): hidden(path) for path in (ROOT / folder).rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        'importlib.import_module("wsi_necrosis.model")',
        'import_module(f"wsi_necrosis.{name}")',
        "import_module(name)",
        '__import__("pipelines.run")',
    ],
)
def test_a_hidden_import_is_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(line, encoding="utf-8")
    assert hidden(tmp_path / "file.py") == [1]


def without_reason(path: Path) -> list[int]:
    """Lines of imports inside functions with no comment on or just above their block."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    inside = {
        node.lineno: node.end_lineno or node.lineno
        for function in ast.walk(ast.parse(text))
        if isinstance(function, Function)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    explained: set[int] = set()  # last lines of imports with a reason
    found = []
    for first, last in sorted(inside.items()):
        if first - 1 in explained or any("#" in line for line in lines[first - 2 : last]):
            explained.add(last)
        else:
            found.append(first)
    return found


def test_an_import_inside_a_function_has_its_reason_beside_it() -> None:
    found = {str(path): without_reason(path) for path in FILES if path.name not in EVERY_COMMAND_WAITS}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_an_import_without_reason_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file.py"
    path.write_text("def f():\n    import torch\n    import timm\n    return torch, timm\n", encoding="utf-8")
    assert without_reason(path) == [2, 3]
    path.write_text("def f():\n    import torch  # takes seconds\n    import timm\n", encoding="utf-8")
    assert without_reason(path) == []


@pytest.mark.parametrize("path", INITS, ids=lambda path: path.parent.name)
def test_the_init_of_a_package_is_one_sentence(path: Path) -> None:
    (sentence, *code) = ast.parse(path.read_text(encoding="utf-8")).body
    assert isinstance(sentence, ast.Expr)
    text = ast.literal_eval(sentence.value)
    assert text.endswith(".")
    assert ". " not in text
    assert not code or path.parent == ROOT / "wsi_necrosis"  # which holds the public names
