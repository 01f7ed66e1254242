"""Colour of bare glass: what tissue is told from, and by which brightness and white balance are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi_necrosis.slides.overview import Overview

DEFAULT_GLASS = (243.0, 243.0, 243.0)  # of slides that show no glass; usual after white balance
PAINTED_WHITE = 252  # in all channels: filled in where nothing was scanned, or saturated glass
BRIGHT = 180  # in all channels: may be glass
EVEN = 2.5  # largest standard deviation, in grey levels, of a small square of glass
LEAST_GLASS = 0.002  # share of a slide's squares, and ...
LEAST_BESIDE_WHITE = 0.02  # ... of those that are painted white; with less, the slide shows no glass
BRIGHTEST = 0.8  # quantile of brightness above which even places are glass, and not pale tissue


def glass_colour(overview: Overview) -> NDArray[np.float32]:
    """Colour of the slide's bare glass.

    The commonest hue of bright, even places that are not pink. Where a slide shows none,
    `DEFAULT_GLASS`; where glass is saturated, white.

    Returns
    -------
    float32 array (3,)
        Grey levels of red, green and blue, 0 to 255.
    """
    mean, spread, white = _square_statistics(overview.rgb, overview.unknown)
    pink = (mean[:, 0] + mean[:, 2]) / 2 - mean[:, 1]
    warm = mean[:, 0] - mean[:, 2]
    bright = (mean.min(axis=1) > BRIGHT) & (spread < EVEN) & (pink < 8) & (pink > -25) & (abs(warm) < 30)
    likely = bright & ~white
    enough = max(1, LEAST_GLASS * len(mean))
    if likely.sum() < max(enough, LEAST_BESIDE_WHITE * white.sum()):
        return np.array((255, 255, 255) if white.sum() >= enough else DEFAULT_GLASS, np.float32)
    return _least_pink(mean[likely], pink[likely], warm[likely])


def bare_glass(
    rgb: NDArray[np.uint8], unreadable: NDArray[np.bool_] | None = None
) -> NDArray[np.float32] | None:
    """Colour of bare glass whatever its hue, so that a wrong white balance is seen.

    The median colour of the brightest fifth of even bright places; white where there is far more of that.

    Parameters
    ----------
    rgb : uint8 array (h, w, 3)
        A slide, or tiles of it, at about 4 um per pixel.
    unreadable : bool array (h, w), optional
        Pixels that could not be decoded.

    Returns
    -------
    float32 array (3,), or None
        Grey levels of red, green and blue, 0 to 255; None where there is no bare glass.
    """
    mean, spread, white = _square_statistics(rgb, unreadable)
    even = (mean.min(axis=1) > BRIGHT) & (spread < EVEN) & ~white
    enough = max(1, LEAST_GLASS * len(mean))
    if even.sum() < max(enough, LEAST_BESIDE_WHITE * white.sum()):
        return np.full(3, 255, np.float32) if white.sum() >= enough else None
    light = mean[even].mean(axis=1)
    return np.asarray(np.median(mean[even][light >= np.quantile(light, BRIGHTEST)], axis=0), np.float32)


def _least_pink(
    mean: NDArray[np.float32], pink: NDArray[np.float32], warm: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Median colour of the least pink of the common hues, so that large even pale tissue is not taken for glass."""
    edges = np.arange(-25, 9.0), np.arange(-30, 31.0)
    counts = ndimage.uniform_filter(np.histogram2d(pink, warm, bins=edges)[0], 3, mode="constant")
    first = int(np.argmax(counts.max(axis=1) >= 0.1 * counts.max()))
    row, col = np.unravel_index(np.argmax(counts[first : first + 4]), counts[first : first + 4].shape)
    near = (abs(pink - edges[0][first + row] - 0.5) < 2) & (abs(warm - edges[1][col] - 0.5) < 2)
    return np.asarray(np.median(mean[near], axis=0), np.float32)


def _square_statistics(
    rgb: NDArray[np.uint8], unreadable: NDArray[np.bool_] | None, most: int = 500_000
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Mean colour, standard deviation and whiteness of small squares all over a picture."""
    height, width = rgb.shape[:2]
    side = min(4, height, width)
    rows, cols = height // side, width // side
    every = max(1, round(rows * cols / most))
    stripes = rgb[: rows * side, : cols * side].reshape(rows, side, cols * side, 3)[::every]
    squares = stripes.reshape(-1, side, cols, side, 3).swapaxes(1, 2).reshape(-1, side * side, 3)
    if unreadable is not None:
        lost = unreadable[: rows * side, : cols * side].reshape(rows, side, cols, side)[::every]
        squares = squares[~lost.any(axis=(1, 3)).ravel()]
    squares = squares.astype(np.float32)
    white = squares.min(axis=(1, 2)) >= PAINTED_WHITE
    return squares.mean(axis=1), squares.std(axis=1).max(axis=1), white
