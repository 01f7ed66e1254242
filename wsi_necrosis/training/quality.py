"""Ranges of focus, nuclei, glass and compression on the training tiles, which travel with the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.model.quality import Quality, Range
from wsi_necrosis.quantify.quality import glass_figures, nuclei_figures
from wsi_necrosis.tiling.density import tissue_density
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.glass import bare_glass
from wsi_necrosis.tiling.quality import Measure, tile_quality
from wsi_necrosis.training.samples import OVERVIEW_UM, Samples, coarser

log = logging.getLogger(__name__)
BATCH = 32

UNFOCUSED = 0.01  # share of the crops of each case that may be less sharp than ...
FOCUS_MARGIN = 0.9  # ... the limit over this: another case may be less sharp than all of these
# Quality of slides as they come: crops are compressed so, at their own pixel size, to know its blocks.
USUAL_JPEG = 70
FEWEST_NUCLEI, FEWEST_CROPS = 100, 20  # of one class of a case, whose nuclei then tell a range
SIZE_MARGIN, STAIN_MARGIN = 1.05, 1.02
PALE_MARGIN = 1.02
DENSE = 0.995  # quantile of the density of the tissue of one class of a case
GLASS_MARGIN = 1.03  # glass of other scanners; a white balance that is wrong by 5 % is beyond it


def quality_ranges(samples: Samples, mpp: float, workers: int) -> Quality | None:
    """The ranges that a slide is compared with, from crops without augmentation.

    A slide may hold nothing but one kind of tissue: nuclei are measured by case and class, and the range is from the
    least to the largest of these. Focus, blocks and glass are measured by case; blocks after a compression as strong
    as that of usual slides.

    Parameters
    ----------
    samples : Samples
        All training crops.
    mpp : float
        Side of their pixels in um.
    workers : int
        Threads.

    Returns
    -------
    Quality or None
        None where the crops show too few nuclei or no glass to tell a range.
    """
    measures = _measured(samples.pixels, mpp, workers)
    compressed = _measured(_compressed(samples.pixels), mpp, workers)
    cases = np.array([tile.case for tile in samples.tiles])[samples.owner]
    classes = samples.truth.argmax(axis=1)
    nuclei = [
        figures
        for case, label in product(np.unique(cases), np.unique(classes))
        if (figures := _nuclei(measures[(cases == case) & (classes == label)]))
    ]
    glass = list(_glass(samples, cases, mpp))
    sharp = 1 / measures[:, Measure.DEFOCUS]
    focus = [np.quantile(some, UNFOCUSED) for some in _by_case(sharp, cases)]
    blocks = [np.median(some) for some in _by_case(compressed[:, Measure.BLOCKS], cases)]
    if not (nuclei and glass and focus):
        log.warning("too few nuclei, no glass or no focus on the training tiles: slides will not be checked")
        return None
    um2, od = np.array(nuclei).T
    densities = list(_densities(samples, cases, classes, mpp))
    brightness, red, blue = np.array([glass_figures(colour) for colour in glass]).T
    return Quality(
        focus=_rounded(min(focus) * FOCUS_MARGIN),
        blocks=_rounded(max(blocks)),
        nucleus_um2=_range(um2, SIZE_MARGIN),
        nucleus_od=_range(od, STAIN_MARGIN),
        pale=_rounded(min(float(np.median(some)) for some in densities) / PALE_MARGIN),
        density=_rounded(max(float(np.quantile(some, DENSE)) for some in densities)),
        brightness=_range(brightness, GLASS_MARGIN),
        red=_range(red, GLASS_MARGIN),
        blue=_range(blue, GLASS_MARGIN),
    )


def _measured(crops: NDArray[np.uint8], mpp: float, workers: int) -> NDArray[np.float32]:
    """Measures (m, 5) of the crops, with 1 for the least focus."""

    def of_batch(start: int) -> NDArray[np.float32]:
        pixels = crops[start : start + BATCH]
        return tile_quality(pixels, foreground(pixels), mpp, focus_limit=1.0)

    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(of_batch, range(0, len(crops), BATCH))))


def _compressed(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops after JPEG compression of the quality `USUAL_JPEG`."""
    found = np.empty_like(crops)
    for crop, out in zip(crops, found, strict=True):
        file = BytesIO()
        Image.fromarray(crop).save(file, "JPEG", quality=USUAL_JPEG)
        with Image.open(file) as image:
            out[:] = np.asarray(image)
    return found


def _nuclei(measures: NDArray[np.float32]) -> tuple[float, float] | None:
    return nuclei_figures(measures, FEWEST_NUCLEI, FEWEST_CROPS)


def _by_case(values: NDArray[np.floating], cases: NDArray[np.str_]) -> Iterator[NDArray[np.floating]]:
    """The known values of each case that has some."""
    for case in np.unique(cases):
        known = values[(cases == case) & np.isfinite(values)]
        if len(known):
            yield known


def _densities(
    samples: Samples, cases: NDArray[np.str_], classes: NDArray[np.int64], mpp: float
) -> Iterator[NDArray[np.float32]]:
    """Densities of the tissue of each class of each case that has some."""
    for case, label in product(np.unique(cases), np.unique(classes)):
        crops = _overview(samples.pixels[(cases == case) & (classes == label)], mpp)
        tissue = crops[foreground(crops)]
        if len(tissue):
            yield tissue_density(tissue)


def _overview(crops: NDArray[np.uint8], mpp: float) -> NDArray[np.uint8]:
    """Crops at the pixel size of a run's overview."""
    return coarser(crops, max(1, round(OVERVIEW_UM / mpp)))


def _glass(samples: Samples, cases: NDArray[np.str_], mpp: float) -> Iterator[NDArray[np.float32]]:
    """Colour of the clear spaces in the crops of each case that has some."""
    for case in np.unique(cases):
        colour = bare_glass(np.concatenate(list(_overview(samples.pixels[cases == case], mpp))))
        if colour is not None:
            yield colour


def _range(values: NDArray[np.floating], margin: float) -> Range:
    return _rounded(float(values.min()) / margin), _rounded(float(values.max()) * margin)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
