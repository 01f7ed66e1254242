"""Areas of a slide that a pathologist outlined: the same ledger as a model's, without any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from scipy.spatial import distance

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotations import (
    LABEL_OF,
    Outline,
    read_outlines,
    refuse_off_slide,
    refuse_unknown_classes,
)
from wsi_necrosis.dataset.cell_labels import territories
from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import DatasetError, SlideError, UsageError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.quantify.cases import CaseNumber, CaseRules, SlideAreas, case_number
from wsi_necrosis.quantify.definition import DENOMINATOR, DRAWN_TARGET, ESTIMATOR
from wsi_necrosis.report.case_slides import CaseSlide
from wsi_necrosis.scores.slide_folder import SlideFolder
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.mask import MaskClass, TissueMask
from wsi_necrosis.tiling.regions import inside

NO_OUTLINES = "no outlines of it"
TERMS = {  # of the ledger, by what the mask says; glass and specks inside an outline are no tissue
    "outside_region": (MaskClass.OUTSIDE,),
    "not_scanned": (MaskClass.NOT_SCANNED,),
    "unreadable": (MaskClass.UNREADABLE,),
    "background": (MaskClass.GLASS, MaskClass.SPECK),
}


@dataclass(frozen=True)
class Frame:
    """What is known of a slide beside its outlines: size of a level-0 pixel, and the tissue mask where there is one."""

    mpp: Mpp
    mask: TissueMask | None = None


def drawn_number(slides: Sequence[CaseSlide], folder: Path, policy: str) -> CaseNumber:
    """Percent viable of a case by a pathologist's outlines.

    A slide's tissue mask comes from its results, else from the slide; where neither is there and the manifest gives the
    pixel size, areas are those within the outlines, glass included.

    Parameters
    ----------
    slides : sequence of CaseSlide
        Of the case.
    folder : Path
        A GeoJSON file for each slide, named as it is.
    policy : str
        Denominator: `tumour`, or `tumour_bed`, which is all that is outlined with a class.

    Raises
    ------
    UsageError
        Outlines cannot be read, have unknown classes or lie beside their slide, or a pixel size is unknown.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give the one that holds a GeoJSON file for each slide")
    areas = [_slide_areas(slide, folder) for slide in slides]
    rules = CaseRules(
        source="drawn",
        policy=policy,
        estimator="drawn",
        min_tumour_mm2=load_settings().quantify.min_tumour_mm2,
        definition={
            "denominator": "all tissue outlined with a class"
            if policy == "tumour_bed"
            else DENOMINATOR["tumour"],
            "tissue": _tissue_text(
                [each.slide_id for each in areas if each.terms and "background" not in each.terms]
            ),
            "estimator": ESTIMATOR["drawn"],
            "target": DRAWN_TARGET,
        },
    )
    return case_number(areas, rules)


def _tissue_text(without_mask: Sequence[str]) -> str:
    said = "tissue within the outlines"
    if not without_mask:
        return said
    return f"{said}; of {', '.join(without_mask)} all within them, glass too, as neither slide nor results are at hand"


def drawn_areas(outlines: Sequence[Outline], frame: Frame) -> tuple[dict[str, Fraction], float]:
    """Terms of the ledger in mm2 by outlines, and the greatest extent of a viable one in mm.

    An outline inside another takes its area from it, `Ignore*` takes from all, and where outlines of two classes cross
    neither has the common area. Tissue without a class is `abstained`.

    Parameters
    ----------
    outlines : sequence of Outline
        Of known classes, or ignored.
    frame : Frame
        Of the slide.
    """
    ignored = shapely.union_all([each.polygon for each in outlines if each.is_ignored])
    kept = [each for each in outlines if not each.is_ignored]
    settled, _ = territories([each.polygon for each in kept], [LABEL_OF[each.name] for each in kept])
    areas = {name: settled[name].difference(ignored) for name in CLASSES if name in settled}
    terms = _by_outline(areas, frame.mpp) if frame.mask is None else _by_pixel(areas, frame.mask)
    return terms, _largest_extent_mm(areas.get("viable"), frame.mpp)


def _by_outline(areas: Mapping[str, Any], mpp: Mpp) -> dict[str, Fraction]:
    mm2 = {name: Fraction(float(area.area) * mpp.px_mm2) for name, area in areas.items()}
    return {f"{name}_by_class": mm2.get(name, Fraction(0)) for name in CLASSES}


def _by_pixel(areas: Mapping[str, Any], mask: TissueMask) -> dict[str, Fraction]:
    """Every pixel of the plane counts once, in the first term that applies."""
    tissue = mask.kind == MaskClass.TISSUE
    drawn = {name: int((inside(area, mask) & tissue).sum()) for name, area in areas.items()}
    px = {term: int(np.isin(mask.kind, kinds).sum()) for term, kinds in TERMS.items()}
    px["abstained"] = int(tissue.sum()) - sum(drawn.values())
    px |= {f"{name}_by_class": drawn.get(name, 0) for name in CLASSES}
    return {term: count * Fraction(mask.px_mm2) for term, count in px.items()}


def _largest_extent_mm(viable: Any, mpp: Mpp) -> float:
    """Greatest distance between two points of one piece; 0 without any."""
    pieces = [] if viable is None else shapely.get_parts(viable)
    hulls = (shapely.get_coordinates(shapely.convex_hull(piece)) * [mpp.x, mpp.y] for piece in pieces)
    return max((float(distance.pdist(hull).max()) / 1e3 for hull in hulls), default=0.0)


def _slide_areas(slide: CaseSlide, folder: Path) -> SlideAreas:
    path = outlines_of(folder, slide.name)
    if path is None:
        return SlideAreas(slide.name, slide.block, slide.role, NO_OUTLINES)
    try:
        outlines = read_outlines(path)
        refuse_unknown_classes({path: outlines})
        terms, focus_mm = drawn_areas(outlines, _frame_of(slide, outlines, path))
    except DatasetError as error:
        raise UsageError(str(error)) from None
    except SlideError as error:
        return SlideAreas(
            slide.name, slide.block, slide.role, f"{error} (mpp_x and mpp_y in the manifest do without it)"
        )
    counted = {"drawn": {name: terms[f"{name}_by_class"] for name in CLASSES}}
    return SlideAreas(slide.name, slide.block, slide.role, "", terms, counted, focus_mm)


def _frame_of(slide: CaseSlide, outlines: Sequence[Outline], path: Path) -> Frame:
    """From the slide's results, else from the slide itself, else the manifest's pixel size alone."""
    if slide.result is not None:
        facts = slide.result["provenance"]["slide"]
        return Frame(Mpp(facts["mpp_x"], facts["mpp_y"]), SlideFolder(slide.folder).tissue().mask)
    if slide.path is not None and slide.path.exists():
        try:
            return _frame_of_slide(slide.path, slide.mpp, outlines, path)
        except SlideError:
            if slide.mpp is None:  # a slide that cannot be read may have outlines all the same
                raise
    if slide.mpp is None:
        raise UsageError(
            f"the pixel size of {slide.name} is not known, as neither the slide nor results of it are there; give the "
            "columns mpp_x and mpp_y of the manifest"
        )
    return Frame(slide.mpp)


def _frame_of_slide(slide: Path, mpp: Mpp | None, outlines: Sequence[Outline], path: Path) -> Frame:
    from wsi_necrosis.tiling.tissue import find_tissue  # scipy's filters, which results make unnecessary

    settings = load_settings().tissue
    with open_slide(slide, mpp) as opened:
        refuse_off_slide(outlines, opened.info, path)
        known = opened.info.known_mpp
        return Frame(known, find_tissue(read_overview(opened, settings.mpp_um), settings))
