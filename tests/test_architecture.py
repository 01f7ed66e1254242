"""The table of packages in `docs/architecture.md` is up to date, and files stay short."""

import tomllib
from dataclasses import replace

import pytest

from tests.helpers.package_table import BEGIN, END, PAGE, ROOT, Part, layers, parts, stale, stated, table

MOST_LINES = 350
# A job read from top to bottom, and the text of one page: splitting them would make neither clearer.
LONGER = {"pipelines/evaluation/evaluate.py", "pipelines/evaluation/model_card.py"}


def test_the_table_of_packages_is_up_to_date() -> None:
    found = stale(PAGE.read_text(encoding="utf-8"), parts())
    assert found == [], "stale; run `python -m tests.helpers.package_table`"


def test_the_table_names_every_package() -> None:
    folders = {path.parent for top in ("wsi_necrosis", "pipelines") for path in (ROOT / top).rglob("*.py")}
    packages = {path.relative_to(ROOT).as_posix() for path in folders} - {"wsi_necrosis"}
    assert packages <= {part.name for part in parts()}


def test_every_package_is_installed() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"][
        "packages"
    ]
    folders = {path.parent for top in ("wsi_necrosis", "pipelines") for path in (ROOT / top).rglob("*.py")}
    names = {path.relative_to(ROOT).as_posix().replace("/", ".") for path in folders}
    names = {name if name.startswith("wsi_necrosis") else f"wsi_necrosis.{name}" for name in names}
    assert set(stated) == names | {"wsi_necrosis.configs"}


def test_each_row_of_the_contract_is_in_the_table() -> None:
    rows = [part.row for part in parts() if part.row.isdigit()]
    assert sorted(set(map(int, rows))) == list(range(1, len(layers("wsi_necrosis")) + 1))


PART = Part("3", "wsi_necrosis/export", "Files.", 9, 1000)


def page_of(*found: Part) -> str:
    return f"Before\n{BEGIN}\n{table(list(found))}\n{END}\nafter"


def test_a_table_is_read_as_it_was_written() -> None:
    assert stated(page_of(PART)) == [PART]


@pytest.mark.parametrize("change", [{"row": "4"}, {"sentence": "Other."}, {"files": 10}, {"lines": 1110}])
def test_a_table_that_says_something_else_is_stale(change: dict[str, object]) -> None:
    assert stale(page_of(replace(PART, **change)), [PART]) == [PART.name]


def test_an_added_or_removed_part_makes_the_table_stale() -> None:
    other = replace(PART, name="wsi_necrosis/other")
    assert stale(page_of(PART), [PART, other]) == stale(page_of(PART, other), [PART]) == [other.name]


def test_a_few_lines_more_do_not_make_it_stale() -> None:
    assert stale(page_of(PART), [replace(PART, lines=1090)]) == []


def test_files_stay_short() -> None:
    files = [path for top in ("wsi_necrosis", "pipelines") for path in (ROOT / top).rglob("*.py")]
    longer = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert longer <= LONGER
