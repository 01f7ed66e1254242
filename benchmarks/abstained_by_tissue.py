"""Which crops of left-out training tiles would a model abstain on, by case and by kind of tissue?

    python benchmarks/abstained_by_tissue.py [CONFIG]

The detector is fitted to the crops of the other cases that inherit the label of their tile, and its limit is that of
the settings; the crops judged are all that hold tissue, and of these those that inherit the label. `crop_tissue.csv`
names the main tissue of each crop. It was made by eye, by no pathologist. Needs no backbone. Prints a table for
RESULTS.md.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from slides import data_folder, stamp

from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.crops import cut_crops
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training.held_out_ood import hold_out_ood
from wsi_necrosis.training.samples import SampleCache, Samples

TISSUES = Path(__file__).with_name("crop_tissue.csv")


def tissue_of_crops() -> dict[tuple[str, int], str]:
    with TISSUES.open(newline="") as handle:
        return {(row["file"], int(row["crop"])): row["tissue"] for row in csv.DictReader(handle)}


def inherited(samples: Samples, tile: LabelledTile, crops: NDArray[np.uint8]) -> list[bool]:
    """Which crops of a tile are among the samples."""
    known = {pixels.tobytes() for pixels in samples.pixels[samples.rows([tile])]}
    return [crop.tobytes() in known for crop in crops]


def main() -> None:
    config = sys.argv[1] if len(sys.argv) > 1 else None
    settings = load_train_settings(config, [f"data.tiles={data_folder() / 'tcia_os'}"])
    tiles = read_tiles(settings.data, Path(), Field(settings.crops.tile_px, settings.crops.mpp_um))
    samples = SampleCache(tiles).plain(settings.crops, find_recipe("none"))
    held = hold_out_ood(samples, settings.crops, settings.ood)
    limit = held.limit(held.tissue, settings.ood)
    tissues, rows = tissue_of_crops(), []
    detectors = {
        case: OodDetector.fit(
            np.concatenate(held.points[held.tissue & ~in_case(samples, case)]), limit, settings.ood.shrinkage
        )
        for case in dict.fromkeys(tile.case for tile in tiles)
    }
    for tile in tiles:
        rows += judged(tile, samples, detectors[tile.case], settings, tissues)
    print(stamp())
    print(f"\nlimit {limit:.3f}\n")
    print("| case or tissue | crops with tissue | abstain | that inherit their label | abstain |")
    print("|---|---:|---:|---:|---:|")
    for column in (0, 1):
        for name in dict.fromkeys(row[column] for row in rows):
            some = [row for row in rows if row[column] == name]
            print(f"| {name} | {_share(some)} | {_share([row for row in some if row[2]])} |")


def judged(
    tile: LabelledTile,
    samples: Samples,
    detector: OodDetector,
    settings: TrainSettings,
    tissues: dict[tuple[str, int], str],
) -> list[tuple[str, str, bool, bool]]:
    """Case, tissue, whether the label is inherited and whether the model abstains, of each crop with tissue."""
    crops = cut_crops(tile, settings.crops)
    held = foreground(crops).mean(axis=(1, 2)) >= settings.ood.least_tissue
    beyond = detector.distance(describe(crops)) > detector.limit
    return [
        (tile.case, tissues[tile.path.name, at], kept, bool(beyond[at]))
        for at, kept in enumerate(inherited(samples, tile, crops))
        if held[at]
    ]


def in_case(samples: Samples, case: str) -> NDArray[np.bool_]:
    return samples.rows([tile for tile in samples.tiles if tile.case == case])


def _share(rows: list[tuple[str, str, bool, bool]]) -> str:
    return f"{len(rows)} | {100 * np.mean([row[3] for row in rows]):.1f} %" if rows else "0 | -"


if __name__ == "__main__":
    main()
