"""Errors of area and percent viable on phantoms of known truth, by the phantom's tiny model.

    python benchmarks/phantoms.py

Three seeds and pixel sizes, strides of a whole and half a tile. Prints a table for RESULTS.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from wsi_necrosis.analysis import analyse
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.pipelines.demo import describe_focus
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom

CASES = [(1, Mpp(0.5, 0.5)), (2, Mpp(0.5, 0.25)), (3, Mpp(0.46, 0.46))]


def main() -> None:
    print("| seed | mpp | stride | non-tumour | non-viable | viable | by class | percent viable | focus |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for seed, mpp in CASES:
            slide = Path(scratch) / f"{seed}.tiff"
            truth = write_phantom(slide, np.random.default_rng(seed), mpp=mpp)
            for stride in (1.0, 0.5):
                settings = load_settings(overrides=["model.name=phantom", f"grid.stride_tiles={stride}"])
                folder = Path(scratch) / f"{seed}-{stride}"
                result = analyse(slide, folder, settings).result
                mm2, painted = result["ledger"]["mm2"], truth.area_mm2
                soft, by_class = (
                    [f"{100 * (mm2[f'{name}_{kind}'] / painted[name] - 1):+.2f} %" for name in CLASSES]
                    for kind in ("soft", "by_class")
                )
                points = result["percent_viable"] - truth.percent_viable
                focus = describe_focus(truth, ScoreStore(folder).read()).split("P(viable) ")[1].split()[0]
                row = [
                    str(seed),
                    str(mpp),
                    f"{stride:g}",
                    *soft,
                    " ".join(by_class),
                    f"{points:+.2f} points",
                    focus,
                ]
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
