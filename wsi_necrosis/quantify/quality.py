"""Is a slide fit to be measured: focus, compression, nuclei and glass, against the training tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.model.quality import Quality
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import defocused_cells
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.density import tissue_density
from wsi_necrosis.tiling.grid import PixelCount
from wsi_necrosis.tiling.mask import MaskClass, Tissue
from wsi_necrosis.tiling.quality import Measure

FEWEST_IN_CELL = 3  # nuclei, of whose size and stain a cell tells
FEWEST_CELLS = 10  # with so many nuclei
# Quantile over cells of the stain of their nuclei: necrosis has pale ones, and any slide some dark.
DARK_SHARE = 0.9

NO_RANGES = "this model has no ranges to compare with"
NO_TISSUE = "no tissue was scored"
NO_GLASS = "no bare glass"
TOO_FEW = "too few nuclei"
SAID: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {  # what is measured, and what is likely where it is too low and too high
        "focus": ("{figure:.0f} % of the tissue is out of focus", "", "scan again"),
        "jpeg_blocks": ("blocks of JPEG compression stand out {figure:.2f}-fold", "", "compressed too strongly"),
        "pixel_size": (
            "nuclei measure {figure:.0f} um2",
            "the pixel size may be wrong (--mpp)",
            "the pixel size may be wrong (--mpp), or the slide is out of focus",
        ),
        "stain_strength": (
            "haematoxylin of the darkest nuclei is {figure:.2f}",
            "stained weakly, faded, over-decalcified or scanned too brightly",
            "stained strongly, cut thickly or scanned too darkly",
        ),
        "pale_tissue": (
            "the median density of the tissue is {figure:.2f}",
            "stained weakly, faded, over-decalcified, cut thinly or scanned too brightly", "",
        ),
        "dense_tissue": ("{figure:.1f} % of the tissue is very dense", "", "folded, cut thickly or stained strongly"),
        "glass_brightness": (
            "bare glass has a brightness of {figure:.0f}", "scanned too darkly", "scanned too brightly"
        ),
        "white_balance_red": ("red of bare glass is {figure:.3f} of green", "too little red", "too much red"),
        "white_balance_blue": ("blue of bare glass is {figure:.3f} of green", "too little blue", "too much blue"),
    }
)  # fmt: skip
DIGITS: Mapping[str, str] = MappingProxyType(
    {"focus": ".0f", "dense_tissue": ".0f", "pixel_size": ".0f", "glass_brightness": ".0f", "white_balance_red": ".3f",
     "white_balance_blue": ".3f"}
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One measure of a slide against its range.

    Attributes
    ----------
    name : str
        One of `SAID`; also the code of its warning.
    figure : float or None
        What was measured; None where it was not assessed.
    low, high : float or None
        Range of the training tiles; None for an open end.
    reason : str or None
        Why it was not assessed.
    """

    name: str
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    @property
    def is_low(self) -> bool:
        """Whether the figure is below the range."""
        return self.figure is not None and self.low is not None and self.figure < self.low

    @property
    def is_high(self) -> bool:
        """Whether the figure is above the range."""
        return self.figure is not None and self.high is not None and self.figure > self.high

    def warning(self) -> ResultWarning | None:
        """A warning with figure, range and what is likely; None where the figure is in the range or not known."""
        if not (self.is_low or self.is_high):
            return None
        what, if_low, if_high = SAID[self.name]
        said = what.format(figure=self.figure)
        return ResultWarning(self.name, f"{said} ({self._range()}): {if_low if self.is_low else if_high}")

    def _range(self) -> str:
        digits = DIGITS.get(self.name, ".2f")
        low, high = (None if edge is None else format(edge, digits) for edge in (self.low, self.high))
        unit = " %" if self.name in {"focus", "dense_tissue"} else ""
        if low is None:
            return f"at most {high}{unit} is usual"
        if high is None:
            return f"at least {low}{unit} on the training tiles"
        return f"{low} to {high}{unit} on the training tiles"


def check_slide(
    scores: Scores,
    glass: Sequence[float] | NDArray[np.floating[Any]] | None,
    density: tuple[float, float] | None,
    quality: Quality | None,
    settings: QuantifySettings,
) -> tuple[Check, ...]:
    """All checks of a slide.

    Parameters
    ----------
    scores : Scores
        Scores of each cell.
    glass : three numbers, or None
        Grey levels of red, green and blue of its bare glass (`tiling.tissue.bare_glass`); None where it shows none.
    density : two numbers, or None
        Density of its tissue, as `density_of` gives it.
    quality : Quality or None
        The model's ranges.
    settings : QuantifySettings
        `max_defocus`, `usual_defocus_share`, `usual_dense_share` and `min_nuclei`.

    Returns
    -------
    tuple of Check
        In the order of `SAID`.
    """
    if quality is None:
        return tuple(Check(name, reason=NO_RANGES) for name in SAID)
    return (
        _focus(scores, settings),
        _blocks(scores, quality),
        *_nuclei(scores, quality, settings),
        *_density(density, quality, settings),
        *_glass(glass, quality),
    )


def quality_warnings(checks: Sequence[Check]) -> Iterator[ResultWarning]:
    """A warning for each measure that is outside its range."""
    found = (check.warning() for check in checks)
    return (each for each in found if each is not None)


def checks_facts(checks: Sequence[Check]) -> dict[str, dict[str, Any]]:
    """JSON-ready content by name."""
    facts = {check.name: asdict(check) for check in checks}
    return {name: {key: each[key] for key in each if key != "name"} for name, each in facts.items()}


def _focus(scores: Scores, settings: QuantifySettings) -> Check:
    tissue = np.where(scores.state == CellState.SCORED, scores.px[..., PixelCount.TISSUE], 0).astype(np.int64)
    total = int(tissue.sum())
    if not total:
        return Check("focus", reason=NO_TISSUE)
    share = 100 * int(tissue[defocused_cells(scores, settings)].sum()) / total
    return Check("focus", share, None, 100 * settings.usual_defocus_share)


def density_of(tissue: Tissue, quality: Quality | None) -> tuple[float, float] | None:
    """Median density of a slide's tissue, and percent of it denser than `quality.density`.

    None without tissue or ranges.
    """
    pixels = tissue.overview.rgb[tissue.mask.kind == MaskClass.TISSUE]
    if quality is None or not len(pixels):
        return None
    density = tissue_density(pixels)
    return float(np.median(density)), 100 * float((density > quality.density).mean())


def _density(
    density: tuple[float, float] | None, quality: Quality, settings: QuantifySettings
) -> tuple[Check, Check]:
    if density is None:
        return Check("pale_tissue", reason=NO_TISSUE), Check("dense_tissue", reason=NO_TISSUE)
    median, percent = density
    dense = Check("dense_tissue", percent, None, 100 * settings.usual_dense_share)
    return Check("pale_tissue", median, quality.pale), dense


def _blocks(scores: Scores, quality: Quality) -> Check:
    blocks = scores.quality[..., Measure.BLOCKS]
    blocks = blocks[np.isfinite(blocks)]
    if not len(blocks):
        return Check("jpeg_blocks", reason=NO_TISSUE)
    return Check("jpeg_blocks", float(np.median(blocks)), None, quality.blocks)


def _nuclei(scores: Scores, quality: Quality, settings: QuantifySettings) -> tuple[Check, Check]:
    found = nuclei_figures(scores.quality.reshape(-1, len(Measure)), settings.min_nuclei)
    if found is None:
        return Check("pixel_size", reason=TOO_FEW), Check("stain_strength", reason=TOO_FEW)
    um2, od = found
    return Check("pixel_size", um2, *quality.nucleus_um2), Check("stain_strength", od, *quality.nucleus_od)


def nuclei_figures(
    quality: NDArray[np.floating[Any]], min_nuclei: int, min_cells: int = FEWEST_CELLS
) -> tuple[float, float] | None:
    """Size and stain of the nuclei of cells or crops (n, 5).

    Returns
    -------
    Mean area in um2 (the geometric mean of the cells, each weighted by the root of its number of nuclei), and the
    density that the darkest tenth of cells exceeds; None with fewer than `min_nuclei` nuclei, or `min_cells` cells with
    3 of them.
    """
    cells = quality[quality[:, Measure.NUCLEI] >= FEWEST_IN_CELL].astype(np.float64)
    count = cells[:, Measure.NUCLEI]
    if len(cells) < min_cells or count.sum() < min_nuclei:
        return None
    um2 = float(np.exp(np.average(np.log(cells[:, Measure.NUCLEUS_UM2]), weights=np.sqrt(count))))
    return um2, float(np.quantile(cells[:, Measure.NUCLEUS_OD], DARK_SHARE))


def _glass(glass: Sequence[float] | NDArray[np.floating[Any]] | None, quality: Quality) -> tuple[Check, ...]:
    names = ("glass_brightness", "white_balance_red", "white_balance_blue")
    if glass is None:
        return tuple(Check(name, reason=NO_GLASS) for name in names)
    ranges = (quality.brightness, quality.red, quality.blue)
    return tuple(
        Check(name, figure, *edges)
        for name, figure, edges in zip(names, glass_figures(glass), ranges, strict=True)
    )


def glass_figures(glass: Sequence[float] | NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Brightness of bare glass in grey levels, and its red and blue over its green."""
    red, green, blue = (float(level) for level in glass)
    return (red + green + blue) / 3, red / green, blue / green
