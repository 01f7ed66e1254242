"""The labelling page in headless Chromium, as a person uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.review.labels import import_labels, latest_by_reader, read_given, reading_of
from wsi_necrosis.review.sample import Sample, sample_cells
from wsi_necrosis.review.sheet import write_sheet

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 60_000  # of a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=WAIT_MS)
        yield found
        found.close()


@pytest.fixture
def sample(out: Path) -> Sample:
    return sample_cells(out, 8, 1)


@pytest.fixture
def page(browser: Any, out: Path, sample: Sample) -> Iterator[Any]:
    """The page, opened; no script of it fails."""
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.goto(write_sheet(out, sample).as_uri())
    yield opened
    context.close()
    assert faults == []


def progress(page: Any) -> str:
    return str(page.inner_text("#progress"))


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_keys_label_undo_goes_back_and_a_reload_keeps_all(page: Any, sample: Sample) -> None:
    count = len(sample.cells)
    press(page, "v", "n", "?")
    assert progress(page) == f"3 of {count} labelled"
    press(page, "u")
    assert progress(page) == f"2 of {count} labelled"
    assert page.inner_text("#where").startswith("Cell 3 of")
    page.fill("#reader", "A. B. von")  # n, o and v in a name label nothing
    assert progress(page) == f"2 of {count} labelled"
    page.reload()
    assert progress(page) == f"2 of {count} labelled"
    assert page.input_value("#reader") == "A. B. von"
    assert page.inner_text("#where").startswith("Cell 3 of")


def test_saved_labels_are_imported_and_give_a_number(
    page: Any, out: Path, sample: Sample, tmp_path: Path
) -> None:
    count = len(sample.cells)
    page.fill("#reader", "A. B. von")
    page.click("#near")
    press(page, "v", "n", "ArrowLeft", "o")  # the second one anew
    for _ in range(count - 2):
        page.click("button[data-label=non_viable]")
    assert progress(page) == f"{count} of {count} labelled: save them"
    with page.expect_download() as saved:
        press(page, "s")
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    assert path.name == "review-A_B_von.csv"
    given = read_given(path, "nobody")
    labels = {each.cell: each.label for each in given}
    assert labels == {1: "viable", 2: "non_tumour"} | dict.fromkeys(range(3, count + 1), "non_viable")
    assert all(each.reader == "A. B. von" and each.labelled for each in given)
    every = import_labels(out, sample, given, "2026-01-01T00:00:00+00:00")
    assert reading_of(sample, "A. B. von", latest_by_reader(every)["A. B. von"]).if_viable is not None
