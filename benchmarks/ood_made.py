"""Ten pictures that an H&E model should refuse, made for judging: no setting, description or limit was chosen on them.

    python benchmarks/ood_made.py -o ood-made
    wsi-necrosis evaluate default --ood benchmarks/ood_inputs.csv --ood ood-made/ood_made.csv ...

Seven are made of labelled osteosarcoma tiles of the data folder, by dyeing them anew (`stain.recolour`), inverting, or
painting; three are photographs that come with scikit-image. Writes PNG files and the table `ood_made.csv`.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage import data

from wsi_necrosis.stain.recolour import recolour
from wsi_necrosis.stain.separation import HAEMATOXYLIN, stain_matrix

Pixels = NDArray[np.uint8]

VIABLE = "Case-4-C28-27016-13463.jpg"
NECROTIC = "Case-3-A17-26576-11618.jpg"
MUSCLE = "Case-4-C22-42649-20389.jpg"
CARTILAGE = "Case-48-P5-C16-44867-23581.jpg"
TILE_MPP, PHOTO_MPP = 0.5, 1.0

# Optical density of red, green and blue, as `stain.separation` has those of haematoxylin and eosin.
DAB = (0.268, 0.570, 0.776)  # Ruifrok and Johnston (2001), as there
ANILINE_BLUE = (0.853, 0.509, 0.113)  # as there
TOLUIDINE_BLUE = (0.800, 0.570, 0.190)  # a blue between the two above; its value is not measured


def dyed(rgb: Pixels, first: tuple[float, ...], second: tuple[float, ...]) -> Pixels:
    """Haematoxylin and eosin in the colours of two other dyes, and no residual."""
    dyes = np.array([first, second, (0.0, 0.0, 0.0)])
    return recolour(rgb, np.linalg.inv(stain_matrix()) @ dyes)


def fluorescent(rgb: Pixels) -> Pixels:
    """Nuclei in blue on black, cytoplasm in faint green."""
    density = -np.log((rgb.astype(np.float64) + 1) / 256) @ np.linalg.inv(stain_matrix())
    light = np.clip(density * 120, 0, 255)
    return np.stack([np.zeros(rgb.shape[:2]), light[..., 1] / 3, light[..., 0]], axis=-1).astype(np.uint8)


def grey(rgb: Pixels) -> Pixels:
    """As scanned without colour."""
    return np.asarray(Image.fromarray(rgb).convert("L").convert("RGB"))


def marked(rgb: Pixels) -> Pixels:
    """Wide strokes of a blue marker, through which tissue is seen."""
    drawing = Image.new("L", rgb.shape[1::-1], 0)
    draw = ImageDraw.Draw(drawing)
    for top in range(-400, rgb.shape[0], 260):
        draw.line([(0, top), (rgb.shape[1], top + 400)], fill=255, width=170)
    ink = np.exp(-1.4 * np.array([1.0, 0.75, 0.15]))
    share = np.asarray(drawing)[..., None] / 255
    return np.asarray(rgb * (1 - share + share * ink), np.uint8)


def made(tiles: Path) -> dict[str, tuple[str, Pixels, float]]:
    """Group, pixels and pixel size by name."""
    viable, necrotic, muscle, cartilage = (
        np.asarray(Image.open(tiles / name).convert("RGB")) for name in (VIABLE, NECROTIC, MUSCLE, CARTILAGE)
    )
    return {
        "dab": ("made: other stain", dyed(viable, HAEMATOXYLIN, DAB), TILE_MPP),
        "trichrome": ("made: other stain", dyed(muscle, HAEMATOXYLIN, ANILINE_BLUE), TILE_MPP),
        "toluidine-blue": ("made: other stain", dyed(cartilage, TOLUIDINE_BLUE, TOLUIDINE_BLUE), TILE_MPP),
        "fluorescent": ("made: other light", fluorescent(viable), TILE_MPP),
        "negative": ("made: other light", np.asarray(255 - necrotic, np.uint8), TILE_MPP),
        "grey": ("made: other light", grey(viable), TILE_MPP),
        "marker": ("made: pen on tissue", marked(necrotic), TILE_MPP),
        "ihc": ("made: photographs", data.immunohistochemistry(), PHOTO_MPP),
        "retina": ("made: photographs", data.retina()[300:1100, 300:1100], PHOTO_MPP),
        "coffee": ("made: photographs", data.coffee(), PHOTO_MPP),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=Path, default=Path(os.path.expandvars("$WSI_NECROSIS_DATA/tcia_os")))
    parser.add_argument("-o", "--out", type=Path, default=Path("ood-made"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "ood_made.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["file", "group", "expected", "mpp"])
        for name, (group, pixels, mpp) in made(arguments.tiles).items():
            Image.fromarray(pixels).save(arguments.out / f"{name}.png")
            table.writerow([f"{name}.png", group, "unseen", mpp])


if __name__ == "__main__":
    main()
