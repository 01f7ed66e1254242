import ast
import re
from pathlib import Path

import pytest

import wsi_necrosis
from wsi_necrosis.quantify.quality import SAID

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "MODEL_CARD.md",
    "benchmarks/RESULTS.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]
SHORT_LINED = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "docs/evaluation", "benchmarks", "configs")
    for pattern in ("*.md", "*.yaml", "Makefile")
    for path in (ROOT / folder).glob(pattern)
)
LONGEST_LINE = 120


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_no_placeholder_is_left(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    assert re.findall(r"@[A-Z0-9]+@", text) == []


def test_the_readme_names_every_command_and_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "run",
        "batch",
        "doctor",
        "bench",
        "demo",
        "info",
        "config",
        "train",
        "case",
        "sensitivity",
        "review",
    ):
        assert f"wsi-necrosis {command}" in text
    for code in ("0 done", "1 failure", "2 usage", "3 some", "4 none", "130 interrupted"):
        assert code in text


def test_the_readme_explains_every_warning() -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "wsi_necrosis").rglob("*.py"))
    codes = {code for text in sources for code in re.findall(r"Warning\(\s*\"([a-z_]+)\"", text)} | set(SAID)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(codes) > 15
    assert sorted(code for code in codes if f"`{code}`" not in text) == []


@pytest.mark.parametrize("page", SHORT_LINED)
def test_lines_outside_tables_are_short(page: str) -> None:
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > LONGEST_LINE and not line.startswith("|")] == []


def test_the_readme_has_a_notebook_of_public_names() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    attributes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute))
    used = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "wn"}
    assert used
    assert used <= set(wsi_necrosis.__all__)
