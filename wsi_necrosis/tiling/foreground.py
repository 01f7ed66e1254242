"""Stained pixels of a tile, found from the tile alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOREGROUND_SPREAD = 12  # grey levels between channels: glass with noise and JPEG has less, pale eosin more
# A channel below this is dense (optical density 0.05 over usual glass) whatever its hue.
FOREGROUND_DARK = 215


def foreground(tiles: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of tiles that hold stained tissue.

    Masks for radiomics, at about 1 um per pixel. Only the tile itself is used, so that the mask is the
    same in training, where the rest of the slide is unknown, and in a run.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)

    Returns
    -------
    bool array (n, h, w)
        True where a channel is dense or the channels differ as they do in stain.

    Examples
    --------
    >>> import numpy as np, wsi_necrosis as wn
    >>> tiles = np.array([[[[243, 243, 243], [150, 90, 160]]]], np.uint8)
    >>> wn.foreground(tiles).tolist()
    [[[False, True]]]
    """
    red, green, blue = tiles[..., 0], tiles[..., 1], tiles[..., 2]
    low = np.minimum(np.minimum(red, green), blue)
    high = np.maximum(np.maximum(red, green), blue)
    mask: NDArray[np.bool_] = (high - low > FOREGROUND_SPREAD) | (low < FOREGROUND_DARK)
    return mask
