"""Metadata of a slide, and checks of its pixel size."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsFloat

from wsi_necrosis.errors import PixelSizeError
from wsi_necrosis.geometry import Box, Mpp

logger = logging.getLogger(__name__)

FINEST_UM, COARSEST_UM = 0.05, 20.0  # beyond these a pixel size is some writer's default, not a scanner's
FINEST_USUAL_UM = 0.1  # no scanner in use has finer pixels
# Pixel size times magnification, in um, of scanners: 0.25 um at 40x, 0.5 um at 20x, and what cameras make of these.
LEAST_PRODUCT, MOST_PRODUCT = 4.0, 12.5
ANISOTROPY = 4.0  # no scanner has pixels longer than this in one direction
MPP_TOLERANCE = 0.05  # a given pixel size that differs more from the slide's own is logged as a warning


CONTRADICTED = ", while the slide states "  # in the source of a pixel size that the slide states otherwise


@dataclass(frozen=True)
class GivenMpp:
    """Size of a level-0 pixel that a user gives, and by what: an option or a table."""

    mpp: Mpp
    by: str = "--mpp"

    @classmethod
    def of(cls, given: SupportsFloat | Mpp | GivenMpp | None) -> GivenMpp | None:
        """What an option gives as a number or a pair; None as it is."""
        if given is None or isinstance(given, GivenMpp):
            return given
        return cls(given if isinstance(given, Mpp) else Mpp(float(given), float(given)))


@dataclass(frozen=True)
class SlideWarning:
    """What to know of a slide before its numbers are used: a code for programs, and a sentence."""

    code: str
    text: str


@dataclass(frozen=True)
class SlideInfo:
    """Metadata of a slide; sizes are (width, height).

    Attributes
    ----------
    path : Path
        The file that was opened.
    files : tuple of Path
        Every file of the slide, sorted.
    vendor : str
        Format by OpenSlide's name for it, or "ome-tiff", "jpeg-2000" or "ome-zarr".
    reader : str
        "jpeg-tiff", "openslide", "tiatoolbox" or "tifffile".
    size_l0 : tuple of int
        Level-0 pixels.
    plane : Box
        What is measured: OpenSlide's bounds where given, else level 0.
    bounds_l0 : tuple of int
        Left and top of the bounds, (0, 0) without any; QuPath's coordinates start there.
    downsamples : tuple of float
        Level-0 pixels per level pixel, finest level first.
    levels : tuple of tuple of int
        Size of each level.
    mpp : Mpp or None
        Size of a level-0 pixel, if it is known and plausible.
    mpp_source : str
        "metadata", "TIFF resolution", "--mpp" or the table that gives it (with what the slide states, where that is
        another size), "unknown", or "implausible metadata (...)".
    objective : float or None
        Magnification that the file states.
    warnings : tuple of SlideWarning
        What was left out (levels, scenes), what the file contradicts itself in, and a doubtful pixel size.
    scene : int
        Number of the scene that is read, from 1.
    scenes : tuple of str
        All scenes of the file, in words; empty where there is but one.
    icc_profile : str or None
        Name of the colour profile in the file, which is not applied.
    scene_names : tuple of str
        Names of all scenes, which may be those of patients; empty where the format has none.
    """

    path: Path
    files: tuple[Path, ...]
    vendor: str
    reader: str
    size_l0: tuple[int, int]
    plane: Box
    bounds_l0: tuple[int, int]
    downsamples: tuple[float, ...]
    levels: tuple[tuple[int, int], ...]
    mpp: Mpp | None
    mpp_source: str
    objective: float | None
    warnings: tuple[SlideWarning, ...] = ()
    scene: int = 1
    scenes: tuple[str, ...] = ()
    icc_profile: str | None = None
    scene_names: tuple[str, ...] = ()

    def nameless(self) -> SlideInfo:
        """The same without the names that the file gives to its scenes."""

        def hidden(text: str) -> str:
            for number, name in enumerate(self.scene_names, 1):
                text = text.replace(f"{number}: {name},", f"{number}:")
            return text

        warnings = tuple(replace(each, text=hidden(each.text)) for each in self.warnings)
        return replace(self, scenes=tuple(map(hidden, self.scenes)), warnings=warnings, scene_names=())

    @property
    def known_mpp(self) -> Mpp:
        """The pixel size.

        Raises
        ------
        PixelSizeError
            It is unknown or implausible.
        """
        if self.mpp is not None:
            return self.mpp
        if self.mpp_source == "unknown":
            raise PixelSizeError(f"{self.path} carries no pixel size; give --mpp X[,Y]")
        raise PixelSizeError(
            f"{self.path} carries no pixel size but {self.mpp_source}; plausible are {FINEST_UM:g} to "
            f"{COARSEST_UM:g} um, sides within a factor of {ANISOTROPY:g}; give --mpp X[,Y]"
        )


def check_given_mpp(given: GivenMpp | None) -> None:
    """Refuse a pixel size given by the user that no scanner has.

    Raises
    ------
    PixelSizeError
        It is out of range, too different along x and y, or not finite.
    """
    if given is not None and not _is_plausible(given.mpp):
        raise PixelSizeError(
            f"{given.by} {given.mpp} is not plausible; give um per pixel, {FINEST_UM:g} to {COARSEST_UM:g}, "
            f"sides within a factor of {ANISOTROPY:g}"
        )


def settle_mpp(path: Path, stated: Mpp | None, source: str, given: GivenMpp | None) -> tuple[Mpp | None, str]:
    """Pixel size to use and where it comes from.

    Parameters
    ----------
    path : Path
        Named in messages.
    stated : Mpp or None
        What the file states; it is taken only if it is plausible.
    source : str
        Where the file states it.
    given : GivenMpp or None
        What the user states; it takes precedence.
    """
    if given is not None:
        if stated is not None and _is_plausible(stated) and _differ(given.mpp, stated):
            logger.warning(
                "%s: %s %s is used although the slide states %s", path, given.by, given.mpp, stated
            )
            return given.mpp, f"{given.by}{CONTRADICTED}{stated}"
        return given.mpp, given.by
    if stated is None:
        return None, "unknown"
    return (stated, source) if _is_plausible(stated) else (None, f"implausible {source} ({stated})")


def pixel_size_warnings(mpp: Mpp | None, source: str, objective: float | None) -> tuple[SlideWarning, ...]:
    """A warning where the pixel size does not go with the magnification that the file states, or with any scanner.

    Parameters
    ----------
    mpp : Mpp or None
        Size of a level-0 pixel; None gives no warning.
    source : str
        Where it comes from.
    objective : float or None
        Magnification that the file states.

    Examples
    --------
    >>> from wsi_necrosis.geometry import Mpp
    >>> pixel_size_warnings(Mpp(0.25, 0.25), "metadata", 40.0)
    ()
    >>> pixel_size_warnings(Mpp(0.5, 0.5), "metadata", 40.0)[0].code
    'pixel_size_doubtful'
    """
    if mpp is None:
        return ()
    way_out = "areas may be wrong by the square of the error; check the scanner's record, or give --mpp"
    if objective is not None and not LEAST_PRODUCT <= objective * mpp.side <= MOST_PRODUCT:
        said = (
            f"the slide states a magnification of {objective:g}x, and its pixel size is {mpp} um ({source}), which do "
            f"not go together: {way_out}"
        )
    elif min(mpp.x, mpp.y) < FINEST_USUAL_UM:
        said = (
            f"the pixel size is {mpp} um ({source}), finer than any scanner's ({FINEST_USUAL_UM:g} um), as where a "
            f"resolution per inch is stored as one per cm: {way_out}"
        )
    else:
        return ()
    return (SlideWarning("pixel_size_doubtful", said),)


def _is_plausible(mpp: Mpp) -> bool:
    """Within the range of scanners, along both axes and in their ratio; NaN fails the first comparison."""
    in_range = all(FINEST_UM <= side <= COARSEST_UM for side in (mpp.x, mpp.y))
    return in_range and max(mpp.x, mpp.y) <= ANISOTROPY * min(mpp.x, mpp.y)


def _differ(given: Mpp, stated: Mpp) -> bool:
    return not all(
        math.isclose(one, other, rel_tol=MPP_TOLERANCE)
        for one, other in ((given.x, stated.x), (given.y, stated.y))
    )
