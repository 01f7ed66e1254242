"""The page in a real browser: what is seen, and what keys do."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers.command import in_process
from tests.helpers.jpeg_slides import JpegKind, write_slide
from tests.helpers.runs import run
from wsi_necrosis.dataset.tables import read_rows
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.grid import PixelCount
from wsi_necrosis.viewer.cells import SlideCells
from wsi_necrosis.viewer.server import serve

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install playwright"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt install chromium")
pytestmark = needs_chromium
WAIT_MS = 60_000  # of a shared machine
UNCOVERED = slice(200, 500), slice(350, 650)  # of the slide's part of the page: nothing lies over it


@contextmanager
def served(out: Path) -> Iterator[str]:
    """Address of the viewer of a folder, by a thread of this process."""
    opened: list[str] = []
    ready, loop, until = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    def tell(address: str) -> None:
        opened.append(address)
        ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(out, 0, tell, until)))
    thread.start()
    assert ready.wait(60)
    try:
        yield opened[0]
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []  # Chromium has no sandbox for root
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@contextmanager
def visited(browser: playwright.Browser, out: Path) -> Iterator[playwright.Page]:
    """The page of a folder, whose console stays empty."""
    with served(out) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 720}, reduced_motion="reduce")
        page.set_default_timeout(WAIT_MS)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-slide]")
        settle(page)
        yield page
        page.close()
        assert said == []


def settle(page: playwright.Page) -> None:
    """Wait until every tile is drawn."""
    until(page, "viewer.image.osd.world.getItemAt(0)?.getFullyLoaded()")
    page.wait_for_timeout(100)


def until(page: playwright.Page, condition: str) -> None:
    """Wait for a condition; `wait_for_function` would be refused by the page's content-security policy."""
    ends = time.monotonic() + WAIT_MS / 1000
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < ends, condition
        page.wait_for_timeout(30)


def seen(page: playwright.Page) -> tuple[np.ndarray, Box]:
    """Pixels of the slide's part of the page, and what they show in level-0 pixels."""
    pixels = Image.open(io.BytesIO(page.locator("main").screenshot())).convert("RGB")
    shown = page.evaluate("(({x, y, width, height}) => [x, y, width, height])(viewer.image.visible)")
    return np.asarray(pixels), Box(*shown)


@pytest.fixture(scope="module")
def page(browser: playwright.Browser, measured: Path) -> Iterator[playwright.Page]:
    """The page of two slides; for looking alone."""
    with visited(browser, measured) as page:
        yield page


@pytest.fixture
def montage(data_dir: Path, tmp_path: Path) -> Path:
    """Results of a slide that is made of four real tiles."""
    names = sorted((data_dir / "tcia_os").glob("Case-3-*.jpg"))[:4]
    tiles = [np.asarray(Image.open(name).convert("RGB").resize((1024, 1024))) for name in names]
    rows = [np.concatenate(pair, axis=1) for pair in (tiles[:2], tiles[2:])]
    slide = write_slide(tmp_path / "a.svs", np.concatenate(rows), JpegKind(vendor="aperio"))
    run(slide, tmp_path / "out" / "slides" / "a.svs")
    return tmp_path / "out"


def test_the_slide_and_its_layer_lie_where_they_belong(page: playwright.Page, measured: Path) -> None:
    check_alignment(page, open_results(measured / "slides" / "a.tiff"))


def test_a_montage_of_real_tiles_and_its_layer_lie_where_they_belong(
    browser: playwright.Browser, montage: Path
) -> None:
    with visited(browser, montage) as page:
        check_alignment(page, open_results(montage / "slides" / "a.svs"))


def check_alignment(page: playwright.Page, report: SlideReport) -> None:
    """Compare the screen with the slide's own pixels, and with a layer's values, also shifted by a cell."""
    cells = SlideCells(report)
    page.keyboard.press("h")  # hides the layer
    pixels, shown = seen(page)
    facts = report.result["provenance"]["slide"]
    mpp, scale = Mpp(facts["mpp_x"], facts["mpp_y"]), shown.width_l0 / pixels.shape[1]
    with open_slide(report.result["path"], mpp) as slide:
        region = slide.read(shown, Mpp(mpp.x * scale, mpp.y * scale)).rgb
    cell_px = round(cells.grid.cell_l0[0] / scale)
    here, beside = (
        np.abs(pixels.astype(int) - np.roll(region, shift, axis=1))[UNCOVERED].mean()
        for shift in (0, cell_px)
    )
    assert here < beside / 2

    page.keyboard.press("h")
    layer, value = most_varied(cells)
    page.keyboard.press(str(layer + 1))
    page.fill("#opacity", "100")
    pixels, shown = seen(page)
    found = colours(pixels, shown, cells, page, report, value)
    assert len(found) > 10
    assert found[:, 0].mean() > 0.98
    assert found[:, 1].mean() < 0.02
    page.fill("#opacity", "40")
    page.keyboard.press("1")


def most_varied(cells: SlideCells) -> tuple[int, np.ndarray]:
    """Number and bytes of the layer in which most neighbours differ."""
    planes = np.frombuffer(cells.layers(()), np.uint8).reshape(-1, *cells.grid.shape)
    spread = [0, *(np.count_nonzero(np.abs(np.diff(plane.astype(int))) > 30) for plane in planes[1:])]
    at = int(np.argmax(spread))
    return at, planes[at]


def colours(
    pixels: np.ndarray,
    shown: Box,
    cells: SlideCells,
    page: playwright.Page,
    report: SlideReport,
    value: np.ndarray,
) -> np.ndarray:
    """Whether the centre of each cell has the colour of its value, and of its right neighbour's, where they differ."""
    ramp = np.array(page.evaluate("viewer.start.ramp"))
    tissue = report.scores().px[..., PixelCount.TISSUE]
    found = []
    for row, col in np.argwhere(tissue[:, :-1] == tissue.max()):
        box = cells.grid.tile_box(row, col)
        x = (box.x_l0 + box.width_l0 / 2 - shown.x_l0) / shown.width_l0 * pixels.shape[1]
        y = (box.y_l0 + box.height_l0 / 2 - shown.y_l0) / shown.height_l0 * pixels.shape[0]
        pair = value[row, col : col + 2]
        if not (180 < x < 680 and 180 < y < 500) or pair.max() >= len(ramp):
            continue
        own, right = ramp[pair]
        if np.abs(own - right).max() > 20:
            told = pixels[int(y), int(x)].astype(int)
            found.append([np.abs(told - colour).max() <= 6 for colour in (own, right)])
    return np.array(found)


def test_layers_and_opacity_change_what_is_seen(page: playwright.Page) -> None:
    page.keyboard.press("1")
    classes, _ = seen(page)
    page.keyboard.press("5")
    assert page.locator("#layer").evaluate("each => each.selectedOptions[0].textContent") == "5  Uncertainty"
    uncertainty, _ = seen(page)
    assert np.abs(classes.astype(int) - uncertainty).mean() > 2
    page.fill("#opacity", "0")
    clear, _ = seen(page)
    page.fill("#opacity", "40")
    page.fill("#threshold", "100")
    none, _ = seen(page)
    assert np.abs(none[UNCOVERED].astype(int) - clear[UNCOVERED]).mean() < 1
    assert np.abs(uncertainty[UNCOVERED].astype(int) - clear[UNCOVERED]).mean() > 2
    page.fill("#threshold", "0")
    page.keyboard.press("1")


def test_it_flies_to_a_focus(page: playwright.Page) -> None:
    focus = page.evaluate("viewer.slide.foci[0]")
    page.keyboard.press("f")
    settle(page)
    _, shown = seen(page)
    box = focus["box"]
    centre = box["x_l0"] + box["width_l0"] / 2, box["y_l0"] + box["height_l0"] / 2
    assert shown.x_l0 + shown.width_l0 / 2 == pytest.approx(centre[0], abs=30)
    assert shown.y_l0 + shown.height_l0 / 2 == pytest.approx(centre[1], abs=30)
    assert page.locator("#foci button[aria-current]").inner_text().startswith("1.")
    page.keyboard.press("0")
    settle(page)


def test_a_clicked_tile_tells_its_row_of_the_table(page: playwright.Page, measured: Path) -> None:
    page.evaluate("document.querySelectorAll('.reader').forEach(each => { each.value = 'nobody'; })")
    page.keyboard.press("0")
    settle(page)
    _, shown = seen(page)
    table = {
        (row["row"], row["col"]): row
        for row in pq.read_table(measured / "slides/a.tiff/tiles.parquet").to_pylist()
    }
    grid = page.evaluate("viewer.slide.grid")
    hidden = {
        (cell["row"], cell["col"])
        for cell in json.loads((measured / "reviews/review.json").read_text())["cells"]
    }
    rows, cols = grid["shape"]
    row, col = next(
        place
        for place in table
        if place not in hidden and rows / 3 < place[0] < rows / 2 and cols / 3 < place[1] < cols / 2
    )
    box = page.locator("main").bounding_box()
    scale = box["width"] / shown.width_l0
    at = (
        box["x"] + ((col + 0.5) * grid["cell_l0"][0] - shown.x_l0) * scale,
        box["y"] + ((row + 0.5) * grid["cell_l0"][1] - shown.y_l0) * scale,
    )
    page.mouse.click(*at)
    page.wait_for_selector("#tile:not([hidden]) .around")
    assert page.locator("#tile-title").inner_text() == f"Tile in row {row}, column {col}"
    for column in ("prob_ViableTumor", "prob_NonViableTumor", "prob_NonTumor"):
        told = page.locator(f"#tile [data-column={column}]").get_attribute("data-value")
        assert float(str(told)) == table[row, col][column]
    page.keyboard.press("Escape")
    assert page.locator("#tile").is_hidden()


def test_slides_follow_one_another_by_keys(page: playwright.Page) -> None:
    for name in ("b.tiff", "a.tiff"):
        page.keyboard.press("j")
        until(page, f"document.title.startsWith('{name}')")
        settle(page)
    assert page.locator("#slides tr[aria-current]").inner_text().startswith("a.tiff")


def test_everything_is_reached_by_keyboard_and_named(page: playwright.Page) -> None:
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].map(each => [each.outerHTML, each.ariaLabel, "
        "each.labels?.length, each.textContent.trim()]).filter(([_, ...names]) => !names.some(Boolean))"
    )
    assert unnamed == []
    page.locator("#tab-results").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#review").is_visible()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#results").is_visible()
    page.locator("#home").focus()
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")


def test_it_fits_a_small_and_a_large_screen(page: playwright.Page) -> None:
    for width, height in ((1920, 1080), (1280, 720)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(100)
        overflow = page.evaluate(
            "[document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]"
        )
        assert max(overflow) <= 0
        panels = [
            page.locator(name).bounding_box() for name in ("#side", "#layer-panel", "#scale", "#navigator")
        ]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in panels)
        assert all(box["y"] >= 0 and box["y"] + box["height"] <= height for box in panels)


def test_ten_labels_by_keys_give_the_number_of_review_import(
    browser: playwright.Browser, out: Path, tmp_path: Path
) -> None:
    with visited(browser, out) as page:
        page.keyboard.press("r")
        page.locator("#review .reader").fill("AB")
        page.locator("#tab-review").focus()
        until(page, "document.querySelectorAll('#steps li').length")
        assert page.locator("#layer-panel").is_hidden()
        assert page.locator("#percent").is_hidden()
        label_all(page)
        headline = page.locator("#review-result strong").inner_text()
        reading = page.evaluate("viewer.review.state.reading")
        mark_the_middle(page)
        page.keyboard.press("r")
        until(page, "document.querySelectorAll('#review-result strong').length")
        assert page.evaluate("viewer.review.state.reading") == reading  # the mark changes nothing
    assert imported(out, tmp_path) == [reading]
    shares = sorted(round(100 * reading[each]["share"]) for each in ("if_viable", "if_non_viable"))
    assert headline == f"{shares[0]} to {shares[1]} % viable"
    marks = read_rows(out / "marks.csv", ("row", "label"))
    assert [each["label"] for each in marks] == ["non_viable"]


def label_all(page: playwright.Page) -> None:
    """Label every cell by keys; the first one is labelled, taken back, and labelled again."""
    done = "document.querySelectorAll('#steps .done').length"
    page.keyboard.press("o")
    until(page, f"{done} === 1")
    page.keyboard.press("u")
    until(page, f"{done} === 0")
    count = page.locator("#steps li").count()
    assert count > 5
    for at in range(count):
        assert page.locator("#review-result").inner_text() == ""
        page.keyboard.press("vno?"[at % 4])
        until(page, f"{done} === {at + 1} && !viewer.review.busy")


def mark_the_middle(page: playwright.Page) -> None:
    """Mark the cell in the middle of the view."""
    page.keyboard.press("m")
    main = page.locator("main").bounding_box()
    page.mouse.click(main["x"] + main["width"] / 2, main["y"] + main["height"] / 2)
    page.keyboard.press("n")
    page.wait_for_selector("#mark-list button")


def imported(out: Path, tmp_path: Path) -> list[dict[str, object]]:
    """What `review import` gives for the labels that count."""
    labels = out / "reviews" / "review.csv"
    latest = {row["cell"]: row["label"] for row in read_rows(labels, ("cell", "label"))}
    table = tmp_path / "labels.csv"
    table.write_text("cell,label\n" + "".join(f"{cell},{label}\n" for cell, label in latest.items()))
    labels.unlink()
    told = in_process("review", "import", str(out), str(table), "--reader", "AB", "--json")
    return json.loads(told.stdout)["readings"]


def test_a_slide_that_is_taken_away_is_told(browser: playwright.Browser, out: Path, tmp_path: Path) -> None:
    result = out / "slides" / "a.tiff" / "result.json"
    facts = json.loads(result.read_text())
    copy = Path(shutil.copy(facts["path"], tmp_path / "a.tiff"))
    name = "<img src=x onerror=alert(1)>"
    result.write_text(json.dumps(facts | {"path": str(copy), "slide_id": name}))
    with served(out) as address:
        page = browser.new_page(viewport={"width": 700, "height": 300})
        page.set_default_timeout(WAIT_MS)
        page.goto(address)
        page.wait_for_selector("body[data-slide]")
        assert page.locator("#title").inner_text() == name
        copy.unlink()
        for _ in range(3):
            page.keyboard.press("+")
        page.wait_for_selector("#notice:not([hidden])")
        assert "cannot be read any more: it was moved" in page.locator("#notice").inner_text()
        page.reload()
        page.wait_for_selector("#notice:not([hidden])")
        assert "Only its overview is shown" in page.locator("#notice").inner_text()
        page.close()


def test_labels_of_the_legend_are_those_of_the_scores(page: playwright.Page) -> None:
    titles = page.locator("#legend label").all_inner_texts()
    assert titles[:3] == ["Viable tumour", "Non-viable tumour", "Non-tumour"]
    page.locator("#legend input").first.uncheck()
    assert page.evaluate(f"viewer.layers.hidden.has({int(CellLabel.VIABLE)})")
    page.locator("#legend input").first.check()
