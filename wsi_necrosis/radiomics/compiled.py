"""The compiled engine: every matrix and feature in code compiled by numba, which releases the interpreter's lock."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from wsi_necrosis.radiomics.cooccurrence import glcm
from wsi_necrosis.radiomics.firstorder import first_order
from wsi_necrosis.radiomics.neighbours import gldm_and_ngtdm
from wsi_necrosis.radiomics.planes import Image, inside, to_levels
from wsi_necrosis.radiomics.runs import glrlm
from wsi_necrosis.radiomics.zones import glszm


def measure_image(
    image: Image, families: Collection[str], distances: tuple[int, ...]
) -> dict[str, npt.NDArray[np.float64]]:
    """Features of one image by family, each in the order of `families.FAMILIES`."""
    pad = max(distances)
    levels, counts = to_levels(image.values, image.mask, image.width, image.bins, pad)
    n_levels = int(levels.max(initial=0))
    offsets = _offsets(distances)
    found = {}
    if "firstorder" in families:
        found["firstorder"] = first_order(inside(image.values, image.mask), counts)
    if "glcm" in families:
        found["glcm"] = glcm(levels, pad, n_levels, int(np.count_nonzero(counts)), offsets)
    if "glrlm" in families:
        found["glrlm"] = glrlm(levels, pad, n_levels)
    if "glszm" in families:
        found["glszm"] = glszm(levels, pad, n_levels)
    if "gldm" in families or "ngtdm" in families:
        found["gldm"], found["ngtdm"] = gldm_and_ngtdm(levels, pad, n_levels, offsets)
    return found


def _offsets(distances: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Rows and columns to the pixels whose larger offset is one of the distances, half of each pair."""
    far = max(distances)
    steps = range(-far, far + 1)
    return np.array(
        [
            (down, right)
            for down in range(far + 1)
            for right in steps
            if max(down, abs(right)) in distances and (down > 0 or right > 0)
        ],
        np.int64,
    )
