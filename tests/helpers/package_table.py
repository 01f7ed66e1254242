"""The table of packages in `docs/architecture.md`: `python -m tests.helpers.package_table` writes it anew."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.files import write_text

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- packages: begin -->", "<!-- packages: end -->"
HEAD = "| row | package or file | what it is for | files | lines |\n|---|---|---|---:|---:|"
PIPELINES = ("pipelines", "pipelines/batch", "pipelines/evaluation", "pipelines/console")
ROUNDING = 10  # of lines; exact numbers would be out of date after every change
MOST_LINES_OFF, MOST_PART_OFF = 50, 0.1  # until the page is stale: small changes need no new table


@dataclass(frozen=True)
class Part:
    """A package, or a file that belongs to none."""

    row: str
    name: str
    sentence: str
    files: int
    lines: int

    def is_close_to(self, stated: Part) -> bool:
        """Whether a table may say this of it: everything as it is, and the lines about so."""
        most = max(MOST_LINES_OFF, MOST_PART_OFF * self.lines)
        named = self.row, self.name, self.sentence, self.files
        return named == (stated.row, stated.name, stated.sentence, stated.files) and (
            abs(self.lines - stated.lines) <= most
        )


def parts() -> list[Part]:
    """All packages and single files, from the row that imports all others down."""
    found = [_package("P", name) for name in PIPELINES]
    for number, layer in enumerate(layers("wsi_necrosis"), 1):
        for name in sorted(layer):
            is_package = (ROOT / "wsi_necrosis" / name).is_dir()
            found.append((_package if is_package else _file)(str(number), f"wsi_necrosis/{name}"))
    return found


def layers(container: str) -> list[list[str]]:
    """Rows of the contract of imports in `pyproject.toml`, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each.get("containers") == [container])
    return [[name.strip() for name in row.split("|")] for row in contract["layers"]]


def table(found: list[Part]) -> str:
    """The table in Markdown."""
    rows = [f"| {p.row} | `{p.name}` | {p.sentence} | {p.files} | {_rounded(p.lines)} |" for p in found]
    return "\n".join([HEAD, *rows])


def stated(page: str) -> list[Part]:
    """What a page's table says; a page without one raises ValueError."""
    inside = page[page.index(BEGIN) : page.index(END)]
    pattern = re.compile(r"^\| (\w+) \| `(.+?)` \| (.+) \| (\d+) \| ([\d,]+) \|$", re.MULTILINE)
    return [
        Part(row, name, sentence, int(files), int(lines.replace(",", "")))
        for row, name, sentence, files, lines in pattern.findall(inside)
    ]


def stale(page: str, found: list[Part]) -> list[str]:
    """Names of which the page's table says something else, or nothing, or which are no longer there."""
    said, there = {part.name: part for part in stated(page)}, {part.name: part for part in found}
    wrong = {name for name in said.keys() & there.keys() if not there[name].is_close_to(said[name])}
    return sorted(wrong | (said.keys() ^ there.keys()))


def main() -> None:
    """Write the table between the page's marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    write_text(PAGE, f"{before}{BEGIN}\n{table(parts())}\n{END}{after}")


def _package(row: str, folder: str) -> Part:
    files = [path for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
    sentence = _sentence(ROOT / folder / "__init__.py")
    return Part(row, folder, sentence, len(files), sum(map(_lines, files)))


def _file(row: str, name: str) -> Part:
    path = ROOT / f"{name}.py"
    return Part(row, f"{name}.py", _sentence(path), 1, _lines(path))


def _sentence(path: Path) -> str:
    """The first paragraph of a file's docstring, on one line."""
    described = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(described.split("\n\n")[0].split()).replace("|", r"\|")


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _rounded(lines: int) -> str:
    return f"{max(ROUNDING, round(lines / ROUNDING) * ROUNDING):,}"


if __name__ == "__main__":
    main()
