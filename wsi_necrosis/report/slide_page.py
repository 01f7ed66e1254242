"""`report.html` of a slide: the number, the pictures behind it, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.export.export_slide import Material
from wsi_necrosis.export.overlay import RESEARCH_ONLY
from wsi_necrosis.export.picture import (
    class_map,
    fit,
    heat_colours,
    heat_picture,
    round_length,
    slide_picture,
)
from wsi_necrosis.quantify.foci import Focus
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.quantify.quality import SAID
from wsi_necrosis.quantify.sentences import REASONS, estimators_text, interval_text, mm2_text, percent_text
from wsi_necrosis.report.explained import explain
from wsi_necrosis.report.pages import data_uri, jpeg_of, write_page
from wsi_necrosis.report.pictures import Cell, cell_pictures
from wsi_necrosis.report.scale import scale_of
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel, cell_class, defocused_cells, ood_cells
from wsi_necrosis.scores.slide_folder import PICTURES
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount

MOST_PX = 1000  # longer side of a picture of the slide
MOST_SHOWN = 8  # foci and uncertain tiles with a picture
MOST_LISTED = 25  # foci in the table
LEAST_TISSUE = 0.25  # of the tile with the most, for one to be shown as uncertain
TERMS = (
    ("viable", CellLabel.VIABLE),
    ("non_viable", CellLabel.NON_VIABLE),
    ("non_tumour", CellLabel.NON_TUMOUR),
    ("abstained", CellLabel.ABSTAINED),
    ("unreadable", CellLabel.UNREADABLE),
)
REST: Mapping[str, str] = {
    "background": "Glass and specks",
    "not_scanned": "Not scanned",
    "outside_region": "Outside the region of interest",
}
QUALITY: Mapping[str, str] = {
    "focus": "Tissue out of focus, %",
    "jpeg_blocks": "Blocks of JPEG compression, fold",
    "pixel_size": "Area of nuclei, µm²",
    "stain_strength": "Haematoxylin of the darkest nuclei",
    "pale_tissue": "Median density of the tissue",
    "dense_tissue": "Very dense tissue, %",
    "glass_brightness": "Brightness of bare glass",
    "white_balance_red": "Red of bare glass over green",
    "white_balance_blue": "Blue of bare glass over green",
}


@dataclass(frozen=True)
class Term:
    """A row of the ledger: title, colour, texts of the areas, and its share of the tissue in percent."""

    title: str
    name: str
    colour: str
    by_class: str
    soft: str
    share: float


@dataclass(frozen=True)
class Shown:
    """A picture of the slide: address, size in pixels, title, text that replaces it."""

    uri: str
    width: int
    height: int
    title: str
    alt: str


def write_slide_report(path: Path, material: Material, slide: Path | None) -> None:
    """Write the report of a slide; a file that exists is replaced.

    Parameters
    ----------
    path : Path
        The file to write; pictures of cells are kept in `pictures` beside it.
    material : Material
        What the report is made from.
    slide : Path or None
        The slide's file, for pictures that are not kept yet; where it is gone the report says what is missing.

    Raises
    ------
    StoreError
        The report cannot be written.
    """
    result, scores, settings = material.result, material.scores, material.settings.quantify
    foci = material.foci
    centres = [cell_of(focus, scores) for focus in foci[:MOST_SHOWN]]
    doubtful = _uncertain(scores, settings)
    provenance = result["provenance"]
    pictures = cell_pictures(
        path.parent / PICTURES, [*centres, *doubtful], scores.grid, slide, provenance["inputs"]["slide"]
    )
    cells = list(dict.fromkeys([*centres, *doubtful]))
    model = provenance["model"]
    prob = np.array([scores.prob[cell] for cell in cells]).reshape(-1, len(CLASSES))
    explained, said = explain(material.reader, model["name"], model["sha256"], cells, prob)
    uris = {cell: data_uri(jpeg) for cell, jpeg in pictures.items()}
    frame = fit(material.tissue.picture, MOST_PX, MOST_PX)
    write_page(
        path,
        "slide.html",
        result=result,
        provenance=provenance,
        headline=percent_text(result),
        reason=REASONS.get(result["reason"] or "", ""),
        estimators=estimators_text(result) if result["status"] == "scored" else "",
        interval=interval_text(result),
        scale=scale_of(result),
        ledger=_ledger(result),
        rest=[(title, mm2_text(result["ledger"]["mm2"][name])) for name, title in REST.items()],
        mm2=mm2_text,
        shown=_pictures(material),
        heat=heat_stops(),
        bar=_scale_bar(frame.um, frame.width),
        marks=[_mark(focus, scores, frame.width, frame.height) for focus in foci[:MOST_SHOWN]],
        foci=[
            (focus, uris.get(cell), explained.get(cell)) for focus, cell in zip(foci, centres, strict=False)
        ],
        radiomics=said,
        more_foci=foci[MOST_SHOWN:MOST_LISTED],
        n_foci=len(foci),
        n_listed=MOST_LISTED,
        uncertain=[
            (_doubt(scores, settings, cell, uris.get(cell)), explained.get(cell)) for cell in doubtful
        ],
        quality=list(_quality(result)),
        date=material.date,
        research_only=RESEARCH_ONLY,
        palette=PALETTE,
        label=CellLabel,
    )


def _pictures(material: Material) -> list[Shown]:
    """The slide, the class of each cell, and the probability of viable tumour, all of one size."""
    layers = material.layers
    frame = fit(layers.overview, MOST_PX, MOST_PX)
    drawn = {
        "The slide": (slide_picture(layers.overview, frame), "The slide without any drawing"),
        "Class of each cell": (
            class_map(layers, frame, material.settings.export.overlay_opacity),
            "The slide with the class of each cell in colours; areas are in the ledger below",
        ),
        "Probability of viable tumour": (
            heat_picture(layers, frame),
            "The slide with the probability of viable tumour from pale yellow, 0, to dark red, 1",
        ),
    }
    return [
        Shown(data_uri(jpeg_of(Image.fromarray(pixels))), frame.width, frame.height, title, alt)
        for title, (pixels, alt) in drawn.items()
    ]


def _ledger(result: Mapping[str, Any]) -> list[Term]:
    """The terms that are tissue, or would be."""
    mm2 = result["ledger"]["mm2"]
    by_class = {name: mm2[f"{name}_by_class"] if name in CLASSES else mm2[name] for name, _ in TERMS}
    total = sum(by_class.values()) or 1.0
    return [
        Term(
            PALETTE[label].title,
            name,
            "#" + bytes(PALETTE[label].rgb).hex(),
            mm2_text(by_class[name]),
            mm2_text(mm2[f"{name}_soft"]) if name in CLASSES else "",
            100 * by_class[name] / total,
        )
        for name, label in TERMS
    ]


def heat_stops() -> list[tuple[float, str]]:
    """The colour scale of probabilities as stops of a gradient: share and colour."""
    shares = np.linspace(0, 1, 11)
    colours = heat_colours(shares)
    return [
        (round(100 * share), "#" + bytes(colour).hex()) for share, colour in zip(shares, colours, strict=True)
    ]


def _scale_bar(um: float, width: int) -> tuple[float, str]:
    """Length of a scale bar in percent of a picture's width, and its text."""
    length = round_length(um * max(1, width / 3))
    return 100 * length / (um * width), f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"


def _mark(focus: Focus, scores: Scores, width: int, height: int) -> tuple[int, float, float]:
    """Rank of a focus, and where its centre lies on a picture of the plane, in pixels."""
    plane, (x, y) = scores.grid.plane, focus.centre_l0
    return focus.rank, (x - plane.x_l0) / plane.width_l0 * width, (y - plane.y_l0) / plane.height_l0 * height


def cell_of(focus: Focus, scores: Scores) -> Cell:
    """The cell in a focus that is most certainly viable."""
    plane, (width, height) = scores.grid.plane, scores.grid.cell_l0
    x, y = focus.centre_l0
    return int((y - plane.y_l0) / height), int((x - plane.x_l0) / width)


def _uncertain(scores: Scores, settings: QuantifySettings) -> list[Cell]:
    """The most uncertain cells that a model could know something of: in focus, not unlike, and not nearly empty."""
    tissue = scores.px[..., PixelCount.TISSUE]
    fit_cells = (scores.state == CellState.SCORED) & ~ood_cells(scores, settings)
    fit_cells &= ~defocused_cells(scores, settings) & (tissue >= LEAST_TISSUE * tissue.max(initial=1))
    order = np.argsort(-np.where(fit_cells, np.nan_to_num(scores.uncertainty), -1), axis=None, kind="stable")
    best = np.stack(np.unravel_index(order[:MOST_SHOWN], tissue.shape), axis=-1)
    return [(int(row), int(col)) for row, col in best if fit_cells[row, col]]


@dataclass(frozen=True)
class Doubt:
    """An uncertain cell: where it is, what the model says, and its picture."""

    row: int
    col: int
    label: str
    prob: Sequence[tuple[str, float]]
    uncertainty: float
    uri: str | None


def _doubt(scores: Scores, settings: QuantifySettings, cell: Cell, uri: str | None) -> Doubt:
    label = int(cell_class(scores, settings)[cell])
    titles = [PALETTE[1 + k].title for k in range(len(CLASSES))]
    prob = list(zip(titles, map(float, scores.prob[cell]), strict=True))
    return Doubt(*cell, PALETTE[label].title, prob, float(scores.uncertainty[cell]), uri)


def _quality(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield what was measured of the slide, the figure, the usual range, and a verdict."""
    warned = {each["code"]: each["text"] for each in result["warnings"]}
    for name in SAID:
        facts = result["quality"].get(name)
        if facts is None:
            continue
        figure, low, high = facts.get("figure"), facts.get("low"), facts.get("high")
        text = "" if figure is None else f"{figure:.3g}"
        edges = ["" if edge is None else f"{edge:.3g}" for edge in (low, high)]
        usual = (
            f"{edges[0]} to {edges[1]}"
            if all(edges)
            else f"at least {edges[0]}"
            if edges[0]
            else f"at most {edges[1]}"
        )
        verdict = warned.get(name) or (facts.get("reason") or "usual")
        yield QUALITY[name], text, usual if any(edges) else "", verdict
