"""Slides measured by the phantom's model, and what their folders hold."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

from wsi_necrosis.analysis import analyse
from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.export.export_slide import Material
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.scores.store import ScoreReader
from wsi_necrosis.settings.run import load_settings

OUTPUTS = {
    "blocks", "foci.csv", "foci.geojson", "hashes.json", "heatmap.ome.zarr", "overlay.png", "perf.json", "pictures",
    "regions.geojson", "report.html", "result.json", "scores.zarr", "thumbnail.png", "tiles.parquet", "tissue.zarr",
}  # fmt: skip
FILES = OUTPUTS | {"log.txt"}  # written by the command and by `pipelines.run`
MIN_TUMOUR = "quantify.min_tumour_mm2=0.1"  # the small phantom has 0.6 mm2
SMALL_PICTURES = "export.overlay_px=512"  # a third of a small slide's time goes into larger ones
PHANTOM = ("model.name=phantom", MIN_TUMOUR, SMALL_PICTURES)
WAYS = [["cluster.workers=2"], ["cluster.workers=2", "cluster.processes=true"]]


def run(slide: Path, folder: Path, *overrides: str, overwrite: bool = False) -> SlideReport:
    """Measure a slide by the phantom's model unless the overrides name another."""
    settings = load_settings(overrides=[*PHANTOM, *overrides])
    return analyse(slide, folder, settings, overwrite=overwrite)


def trees_equal(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    names = [
        sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()) for root in (one, other)
    ]
    return names[0] == names[1] and not filecmp.cmpfiles(one, other, names[0], shallow=False)[1]


def material_of(job: Job) -> Material:
    """What the files of a finished job are made from."""
    report, reader = open_results(job.folder), ScoreReader(job.folder)
    date = json.loads((job.folder / "perf.json").read_text())["date"]
    tissue = report.tissue()
    return Material(report.result, report.tissue, tissue.mask, reader.read(), reader, report.settings, date)


class StopAfter(QuietWatcher):
    """Interrupts after so many blocks, as Ctrl-C would."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def scored(self, tiles: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise InterruptedRunError("stopped")
