"""`wsi-necrosis demo`: a synthetic slide with known areas, scored by a tiny model and compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsi_necrosis.classes import TUMOUR_CLASSES, VIABLE
from wsi_necrosis.files import require_writable
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.quantify.sentences import class_areas
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.slides.phantom import PhantomTruth, write_phantom

from .run import run


def demo(out: Path, seed: int, settings: Settings, watcher: Watcher) -> str:
    """Write a synthetic slide into `out`, analyse it, and compare the result with its known areas.

    Parameters
    ----------
    out : Path
        Folder of results; the slide and its truth are written to `out/phantom`.
    seed : int
        Of the shapes.
    settings : Settings
        With `model.name` set to the phantom's model.
    watcher : Watcher
        Receives the progress.

    Returns
    -------
    str
        A table of areas and percent viable.
    """
    slide = out / "phantom" / f"phantom-{seed}.tiff"
    require_writable(slide.parent)
    slide.parent.mkdir(parents=True, exist_ok=True)
    truth = write_phantom(slide, np.random.default_rng(seed))
    report = run(slide, out, settings, watcher)
    lines = [*compare(truth, report.result), describe_focus(truth, report.scores())]
    return "\n".join([*lines, f"results in {report.folder}"])


def compare(truth: PhantomTruth, result: Mapping[str, Any]) -> list[str]:
    """Lines of a table: true and found areas in mm2 by class, and percent viable."""
    found = class_areas(result)
    lines = [f"{'':<18}{'painted':>10}{'found':>10}{'error':>9}"]
    for each in TUMOUR_CLASSES:
        painted, area = truth.area_mm2[each.name], found[each.name]
        lines.append(
            f"{each.title:<18}{painted:>7.3f} mm2{area:>6.3f} mm2{100 * (area / painted - 1):>+7.2f} %"
        )
    painted, percent = truth.percent_viable, result["percent_viable"]
    lines.append(f"{'Percent viable':<18}{painted:>9.2f} %{percent:>8.2f} %{percent - painted:>+7.2f} points")
    return lines


def describe_focus(truth: PhantomTruth, scores: Scores) -> str:
    """A line on the viable focus that is smaller than a tile: the probability of its cell.

    The areas do not show whether it was found; its cell is compared with the necrosis around it.
    """
    focus, (width, height) = truth.shape("focus"), scores.grid.cell_l0
    row, col = int(focus.y_um / truth.mpp.y / height), int(focus.x_um / truth.mpp.x / width)
    found = scores.prob[row, col, VIABLE]
    return f"viable focus of {2 * focus.radius_um:.0f} um, smaller than a tile: P(viable) {found:.3f} in its cell"
