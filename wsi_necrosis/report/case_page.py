"""`cases/NAME.html`: percent viable of a case by each source, its slides, and where to look first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsi_necrosis.errors import StoreError, UsageError, WsiNecrosisError
from wsi_necrosis.export.cases import read_cases
from wsi_necrosis.export.export_slide import attempt
from wsi_necrosis.export.overlay import RESEARCH_ONLY
from wsi_necrosis.export.picture import RGB, Layers, class_map, fit, outlined_map
from wsi_necrosis.export.summary import rows_by_folder
from wsi_necrosis.names import path_of, safe_name
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.quantify.foci import Focus, foci_of
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.quantify.sentences import (
    FOUND,
    REASONS,
    SHORT,
    SOURCES,
    interval_text,
    limit_of_blank_text,
    limit_of_full_text,
    mm2_text,
)
from wsi_necrosis.report.against_outlines import (
    NO_CLASS,
    known_outlines,
    outlined_classes,
    percents_of,
    read_as,
)
from wsi_necrosis.report.pages import data_uri, jpeg_of, write_page
from wsi_necrosis.report.scale import Scale, scale_of
from wsi_necrosis.report.slab_map import slab_maps
from wsi_necrosis.report.slide_line import CUT_OFF, slide_line
from wsi_necrosis.report.slide_page import MOST_LISTED, MOST_SHOWN, Shown, cell_of, heat_stops
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.scores.slide_folder import PICTURES, SLIDES

CASES = "cases"  # in the folder of a command's results: a page for each case
MAP_PX = 320  # longer side of a map
LEGEND = (CellLabel.VIABLE, CellLabel.NON_VIABLE, CellLabel.NON_TUMOUR, CellLabel.ABSTAINED)


@dataclass(frozen=True)
class Number:
    """A number of a case: whose it is, all of it as in `cases.json`, and what is said and drawn of it."""

    source: str
    facts: Mapping[str, Any]
    headline: str
    scale: Scale
    interval: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A slide in pictures: its maps, what is said of them, and its foci with the files of their pictures."""

    name: str
    maps: tuple[Shown, ...] = ()
    said: str = ""
    foci: tuple[tuple[Focus, Path], ...] = ()


@dataclass(frozen=True)
class Warned:
    """What warnings are about, the words of the first one, slides of which just that is said, and the other slides."""

    about: str
    text: str
    same: tuple[str, ...]
    others: tuple[str, ...]


def page_name(case: str) -> str:
    r"""Name of the page of a case, which lies in one folder whatever the case is called.

    Examples
    --------
    >>> page_name("P1"), page_name("2024/17"), page_name("")
    ('P1.html', '2024\\x2f17.html', 'case.html')
    """
    return safe_name(case.replace("/", r"\x2f") or "case") + ".html"


def write_case_reports(out: Path) -> list[ResultWarning]:
    """Write the page of each case that the command `case` found; files that exist are replaced.

    Returns
    -------
    list of ResultWarning
        One for each page that could not be made. Damaged numbers of cases are left to the folder's report.
    """
    try:
        cases = read_cases(out)
    except StoreError:
        return []
    rows = rows_by_folder(out)
    if cases:
        (out / CASES).mkdir(exist_ok=True)
    pages = {out / CASES / page_name(case["case"]): case for case in cases}
    found = (attempt(path, lambda path: write_case_report(path, pages[path], rows)) for path in pages)
    return [each for each in found if each is not None]


def write_case_report(path: Path, case: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the page of a case; a file that exists is replaced.

    Parameters
    ----------
    path : Path
        The page, in a folder of the folder of results.
    case : mapping
        Of `cases.json`.
    rows : mapping
        Rows of `summary.csv`, by the slide's folder.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    out = path.parents[1]
    names = [each["slide_id"] for each in case["slides"] if each["slide_id"] in rows]
    reports = {name: open_results(out / SLIDES / name) for name in names}
    outlines = {each["slide_id"]: each["outlines"] for each in case["slides"]}
    seen = [_seen(name, report, outlines[name]) for name, report in reports.items()]
    foci = [(slide.name, focus, picture) for slide in seen for focus, picture in slide.foci]
    foci.sort(key=lambda each: -each[1].viable_mm2)
    results = [report.result for report in reports.values()]
    write_page(
        path,
        "case.html",
        case=case["case"] or "All slides",
        numbers=[_number(each) for each in case["numbers"]],
        warnings=_warnings(results),
        lines=[slide_line(out, name, rows[name], "../") for name in names],
        lacking=[(each["slide_id"], each["problem"]) for each in case["slides"] if each["problem"]],
        maps=slab_maps(rows[name] for name in names),
        seen=seen,
        foci=[(name, focus, _picture(place)) for name, focus, place in foci[:MOST_SHOWN]],
        more_foci=foci[MOST_SHOWN:MOST_LISTED],
        n_foci=len(foci),
        models=_models(results),
        results=results,
        versions=sorted({each["provenance"]["versions"]["wsi-necrosis"] for each in results}),
        legend=[(label.name.lower(), PALETTE[label]) for label in LEGEND],
        cut_off=CUT_OFF,
        heat=heat_stops(),
        mm2=mm2_text,
        research_only=RESEARCH_ONLY,
    )


def _number(facts: Mapping[str, Any]) -> Number:
    percent, reason = facts["percent_viable"], str(facts["reason"])
    bed = " of the tumour bed" if facts["policy"] == "tumour_bed" else ""
    known = (limit_of_blank_text(facts["limit_of_blank"]), limit_of_full_text(facts["limit_of_full"]))
    return Number(
        source=SOURCES[facts["source"]],
        facts=facts,
        headline=f"not evaluable: {REASONS.get(reason, reason)}"
        if percent is None
        else f"{FOUND.get(facts['finding'], '')}{percent:.1f} % viable{bed}",
        scale=scale_of(facts),
        interval=interval_text(facts),
        limits=known if facts["source"] == "model" else (),
    )


def _warnings(results: Sequence[Mapping[str, Any]]) -> list[Warned]:
    """One for each code, in the order in which the slides name them."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for result in results:
        for each in result["warnings"]:
            found[each["code"]][result["slide_id"]] = each["text"]
    return [_warned(SHORT.get(code, code), texts) for code, texts in found.items()]


def _warned(about: str, texts: Mapping[str, str]) -> Warned:
    text = next(iter(texts.values()))
    same = tuple(name for name, said in texts.items() if said == text)
    return Warned(about, text, same, tuple(name for name in texts if name not in same))


def _models(results: Sequence[Mapping[str, Any]]) -> list[str]:
    every = (each["provenance"]["model"] for each in results)
    return sorted({f"{model['name']} ({model['sha256'][:16]}): {model['notice']}" for model in every})


def _seen(name: str, report: SlideReport, outlines: str | None) -> Seen:
    """Pictures of a slide; where its folder is damaged, what is wrong."""
    try:
        tissue, scores, heatmap = report.tissue(), report.scores(), report.heatmap()
    except WsiNecrosisError as error:
        return Seen(name, said=f"No picture: {error}")
    layers, opacity = Layers(tissue.picture, tissue.mask, heatmap), report.settings.export.overlay_opacity
    by_model = class_map(layers, fit(tissue.picture, MAP_PX, MAP_PX), opacity)
    maps = [_shown(by_model, "By the model", f"{name}: class of each cell by the model")]
    said = ""
    if outlines is not None:
        try:
            picture, said = _outlined(outlines, layers, opacity)
            maps.append(_shown(picture, "As outlined", f"{name}: what was outlined"))
        except WsiNecrosisError as error:
            said = f"No picture of its outlines: {error}"
    foci = foci_of(scores, report.settings.quantify)[:MOST_LISTED]
    pictures = report.folder / PICTURES
    places = [pictures / "{}.{}.jpg".format(*cell_of(focus, scores)) for focus in foci]
    return Seen(name, tuple(maps), said, tuple(zip(foci, places, strict=True)))


def _outlined(outlines: str, layers: Layers, opacity: float) -> tuple[RGB, str]:
    """The map of outlines, and percent viable of the tissue that is outlined with a class, both ways."""
    if not outlines:
        raise UsageError("no path of an anonymised slide is kept")
    mask, heatmap = layers.mask, layers.heatmap
    drawn = outlined_classes(known_outlines(path_of(outlines)), mask)
    label = np.where(drawn < NO_CLASS, drawn + 1, 0).astype(np.uint8)
    frame = fit(layers.overview, MAP_PX, MAP_PX)
    both = percents_of(read_as(drawn, heatmap.label, heatmap.grid, mask))
    said = ["no tumour" if each is None else f"{each:.1f} % viable" for each in both]
    picture = outlined_map(layers.overview, mask, label, frame, opacity)
    return picture, f"Of the outlined tissue: {said[0]} as outlined, {said[1]} by the model."


def _shown(pixels: RGB, title: str, alt: str) -> Shown:
    height, width = pixels.shape[:2]
    return Shown(data_uri(jpeg_of(Image.fromarray(pixels))), width, height, title, alt)


def _picture(path: Path) -> str | None:
    return data_uri(path.read_bytes()) if path.is_file() else None
