"""What a slide must look like to be fit for a model: ranges that were measured on its training tiles."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, ClassVar

from pydantic import ConfigDict

from wsi_necrosis.model.calibration import STRICT

Range = tuple[float, float]


@dataclass(frozen=True)
class Quality:
    """Ranges of a model's training tiles, with their margins; measures are those of `tiling.quality`.

    Attributes
    ----------
    focus : float
        Least focus of a tile.
    blocks : float
        Largest median over a slide's tiles of the blocks of JPEG compression.
    nucleus_um2 : tuple of float
        Mean area of nuclei, in um2.
    nucleus_od : tuple of float
        Haematoxylin density of nuclei in the darkest tenth of tiles.
    pale, density : float
        Density of tissue at 4 um per pixel (`tiling.density`): least median over a slide, and what hardly any tissue
        exceeds.
    brightness : tuple of float
        Mean of red, green and blue of bare glass, in grey levels.
    red, blue : tuple of float
        Red and blue of bare glass over its green.
    """

    focus: float
    blocks: float
    nucleus_um2: Range
    nucleus_od: Range
    pale: float
    density: float
    brightness: Range
    red: Range
    blue: Range
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        ranges = (self.nucleus_um2, self.nucleus_od, self.brightness, self.red, self.blue)
        numbers = [
            self.focus,
            self.blocks,
            self.pale,
            self.density,
            *(edge for each in ranges for edge in each),
        ]
        if not all(isfinite(number) and number > 0 for number in numbers):
            raise ValueError("all numbers are finite and above 0")
        if any(low > high for low, high in ranges):
            raise ValueError("a range begins with its lower end")


def quality_facts(quality: Quality | None) -> dict[str, Any] | None:
    """JSON-ready content; None stays."""
    return None if quality is None else asdict(quality)
