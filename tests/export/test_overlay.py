from collections.abc import Callable
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.complete_scores import no_quality
from wsi_necrosis.export import overlay
from wsi_necrosis.export.layout import FACTS_HIGH, LEGEND_WIDE, lay_out
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.quantify.intervals import COVERS, METHOD, NO_VIABLE, TARGET, Interval
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.quantify.sentences import SHORT, limit_of_blank_text
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.grid import TileGrid, cell_pixels
from wsi_necrosis.tiling.tissue import find_tissue

SHIPPED = load_settings().export
CAPTION = Caption(
    "Präparat 7.mrxs", "default", "a notice", "0.5 x 1 µm per pixel (metadata)", "0.1.0", "2026-11-29"
)


def sized(px: int) -> Any:
    return SHIPPED.model_copy(update={"overlay_px": px})


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.parametrize("shape", [(300, 210), (4, 4), (1, 1), (1500, 40), (40, 1500), (2000, 1500)])
def test_longer_side_is_as_set(made_up: Callable[..., Any], tmp_path: Path, shape: tuple[int, int]) -> None:
    slide = made_up(cols=shape[0], rows=shape[1])
    write_overlay(tmp_path / "o.png", slide.layers, slide.result, CAPTION, sized(1500))
    write_thumbnail(tmp_path / "t.png", slide.layers.overview, sized(1500))
    overlay, thumbnail = picture(tmp_path / "o.png"), picture(tmp_path / "t.png")
    assert 300 < max(overlay.shape) <= 1500
    assert 20 < max(thumbnail.shape) <= 1500
    if min(shape) > 200:
        assert max(overlay.shape) > 1300
        assert max(thumbnail.shape) > 1450


def test_a_picture_smaller_than_its_text_grows(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = made_up()
    write_overlay(tmp_path / "o.png", slide.layers, slide.result, CAPTION, sized(64))
    write_thumbnail(tmp_path / "t.png", slide.layers.overview, sized(64))
    assert max(picture(tmp_path / "o.png").shape) > 400


@pytest.mark.parametrize("side", [64, 700, 2048])
@pytest.mark.parametrize("shape", [(300, 210), (1, 1), (3000, 20), (20, 3000)])
def test_nothing_lies_on_anything_else(
    made_up: Callable[..., Any], side: int, shape: tuple[int, int]
) -> None:
    layout = lay_out(made_up(cols=shape[0], rows=shape[1]).layers.overview, side)
    unit, (width, height) = layout.unit, layout.canvas
    boxes = [(*at, *layout.frame.size) for at in layout.panels]
    boxes += [(*layout.facts, 27 * unit, round(FACTS_HIGH * unit)), (*layout.table, 27 * unit, 15 * unit)]
    for n, (x, y, wide, high) in enumerate(boxes):
        assert x >= 0 <= y
        assert x + wide <= width
        assert y + high <= height
        for left, top, across, down in boxes[:n]:
            assert x >= left + across or left >= x + wide or y >= top + down or top >= y + high


def test_legend_and_panels_tell_results_apart(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = made_up()
    other = {**slide.result, "percent_viable": 12.3, "percent_necrosis": 87.7}
    none = {**slide.result, "status": "not_evaluable", "reason": "too_little_tumour", "percent_viable": None}
    out_of_domain = {**none, "reason": "out_of_domain"}
    doubted = {**slide.result, "warnings": [{"code": "undecided", "text": "the model is undecided"}]}
    no_viable = {**slide.result, "finding": "no_viable"}
    limited = {
        **slide.result,
        "percent_viable": 88.0,
        "limit_of_full_text": "62 % and more cannot be told from all",
    }
    far = {**slide.result, "ood_mm2": 0.4 * slide.result["tumour_mm2"]}
    other |= {"limit_of_blank_text": "up to 38 % cannot be told from none"}
    found = []
    for n, result in enumerate((slide.result, other, none, out_of_domain, doubted, no_viable, limited, far)):
        write_overlay(tmp_path / f"{n}.png", slide.layers, result, CAPTION, sized(1200))
        found.append(picture(tmp_path / f"{n}.png"))
    assert len({one.shape for one in found}) == 1
    layout = lay_out(slide.layers.overview, 1200)
    (x, y), unit = layout.facts, layout.unit
    facts = np.s_[y : y + round(FACTS_HIGH * unit), x : x + 27 * unit]
    for one, two in combinations(range(len(found)), 2):
        assert (found[one][facts] != found[two][facts]).any()
        changed = (found[one] != found[two]).any(axis=-1)
        changed[facts] = False
        assert not changed.any()


@pytest.mark.parametrize("side", [400, 700, 2048])
@pytest.mark.parametrize("finding", [None, "no_viable"])
def test_the_longest_legend_fits_into_its_place(
    made_up: Callable[..., Any], tmp_path: Path, side: int, finding: str | None
) -> None:
    slide = made_up(cols=300, rows=200, fill="tissue")
    limit = {"mean": 21.0, "limit": 38.0, "cases": 2}
    interval = Interval(49.1, 51.3, 0.95, TARGET, METHOD, COVERS, False, 4.0, 12, 12)
    result = {
        **slide.result,
        "finding": finding,
        "interval": None if finding else asdict(interval),
        "interval_reason": NO_VIABLE if finding else None,
        "limit_of_blank": limit,
        "limit_of_blank_text": limit_of_blank_text(limit),
        "warnings": [{"code": code, "text": ""} for code in SHORT],
    }
    caption = Caption(
        "a name of forty letters, as scanners write.svs",
        "densenet (0123abcd)",
        load_spec("phantom").notice + ", research demonstration of 4 cases",
        CAPTION.pixel_size,
        "0.1.0.dev1234",
        "2026-11-29",
    )
    write_overlay(tmp_path / "o.png", slide.layers, result, caption, sized(side))
    layout = lay_out(slide.layers.overview, side)
    (x, y), unit = layout.facts, layout.unit
    bottom, right = y + round(FACTS_HIGH * unit), x + round(LEGEND_WIDE * unit)
    drawn = picture(tmp_path / "o.png")
    assert (drawn[bottom - unit // 2 : bottom, x:right] == 255).all()  # a margin above what follows
    assert (drawn[y:bottom, right:] == 255).all() or layout.table[0] > x
    assert (drawn[bottom - 6 * unit : bottom, x:right] < 255).any()


def test_swatches_show_the_classes_that_are_there(made_up: Callable[..., Any], tmp_path: Path) -> None:
    mixed, clean = made_up(), made_up(fill="glass")
    assert mixed.score.ledger.abstained > 0
    for name, slide in (("mixed", mixed), ("clean", clean)):
        write_overlay(tmp_path / f"{name}.png", slide.layers, slide.result, CAPTION, sized(1200))
        layout = lay_out(slide.layers.overview, 1200)
        (x, y), unit = layout.table, layout.unit
        legend = picture(tmp_path / f"{name}.png")[y : y + 10 * unit, x : x + unit].reshape(-1, 3)
        for rgb, always in (
            ((200, 0, 0), True),
            ((150, 200, 150), True),
            ((180, 180, 180), False),
            ((0, 0, 180), False),
        ):
            assert (legend == rgb).all(axis=-1).any() == (always or name == "mixed")


def test_a_real_slide(data_dir: Path, tmp_path: Path) -> None:
    settings = load_settings()
    with open_slide(data_dir / "slides" / "CMU-1-Small-Region.svs") as slide:
        overview = read_overview(slide, settings.tissue.mpp_um)
        grid = TileGrid(slide.info.plane, (2.0, 2.0), slide.info.known_mpp.scaled(2, 2), 224, 224, 8)
    mask = find_tissue(overview, settings.tissue)
    px = cell_pixels(grid, mask)
    scored = px[..., 1] > 0
    prob = np.where(scored[..., None], np.float32([0.1, 0.2, 0.7]), np.float32(np.nan))
    state = np.where(scored, CellState.SCORED, CellState.NO_TISSUE).astype(np.uint8)
    uncertainty, ood = (np.where(scored, np.float32(value), np.float32(np.nan)) for value in (0.7, 0.2))
    scores = Scores(grid, mask.px_mm2, prob, uncertainty, ood, no_quality(scored.shape), px, state)
    layers = Layers(overview, mask, stitch(scores, settings.quantify))
    path = tmp_path / "overlay.png"
    write_overlay(path, layers, measure(scores, settings.quantify).to_dict(), CAPTION, settings.export)
    drawn = picture(path)
    layout = lay_out(overview, settings.export.overlay_px)
    (x, y), (wide, high) = layout.panels[0], layout.frame.size
    panel = drawn[y : y + high, x : x + wide].astype(int)
    red = panel[..., 0] - panel[..., 1:].max(axis=-1) > 40
    assert red.mean() == pytest.approx((mask.kind == 1).mean(), abs=0.05)


def test_under_the_tumour_bed_necrosis_is_said_to_be_of_the_bed() -> None:
    bed = {"viable_mm2": 2.0, "non_viable_mm2": 3.0, "non_tumour_mm2": 5.0, "percent_non_tumour": 50.0}
    said = overlay._rest({"percent_necrosis": 30.0, "bed": bed}, "of 5.00 mm² tumour")
    assert said == "30.0 % necrosis, 50.0 % other tissue, of 10.00 mm² bed"
    assert overlay._rest({"percent_necrosis": 30.0, "bed": None}, "of tumour") == "30.0 % necrosis, of tumour"
