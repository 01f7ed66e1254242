"""Complete scores of small slides, and what `measure` makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.percentage import NecrosisScore, measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings, load_settings
from wsi_necrosis.tiling.grid import TileGrid
from wsi_necrosis.tiling.quality import Measure

SHIPPED = load_settings().quantify
ANY_AMOUNT = SHIPPED.model_copy(update={"min_tumour_mm2": 0.0, "max_unreadable_share": 1.0})
VIABLE, NON_VIABLE, NON_TUMOUR = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
NONE = (np.nan, np.nan, np.nan)
FAR = np.float32(1e30)
DISTANCES = (0.0, 0.5, 1.0, float(np.nextafter(np.float32(1), np.float32(2))), 3.0, float(FAR))


def settings(**changes: Any) -> QuantifySettings:
    return SHIPPED.model_copy(update=changes)


def scores(
    prob: NDArray[np.float32],
    tissue: NDArray[np.uint32] | int = 100,
    px_mm2: float = 0.001,
    cell_mm: tuple[float, float] = (0.5, 0.5),
    ood: NDArray[np.float32] | float = 0.0,
    defocus: NDArray[np.float32] | float = np.nan,
) -> Scores:
    """A complete store; cells are scored where `prob` is a number."""
    prob = np.asarray(prob, np.float32)
    shape = prob.shape[:2]
    scored = np.isfinite(prob[..., 0])
    px = np.zeros((*shape, 5), np.uint32)
    px[..., 1] = np.where(scored, tissue, 0)
    px[..., 0] = 7
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(prob > 0, prob * np.log(prob), 0 * prob).sum(axis=-1) / np.log(3)
    mpp = Mpp(cell_mm[0] * 10, cell_mm[1] * 10)  # 100 px to a cell
    grid = TileGrid(Box(0, 0, shape[1] * 100, shape[0] * 100), (1.0, 1.0), mpp, 100, 100, 8)
    state = np.where(scored, CellState.SCORED, CellState.NO_TISSUE).astype(np.uint8)
    distance = np.where(scored, ood, np.nan).astype(np.float32)
    quality = no_quality(shape)
    quality[..., Measure.DEFOCUS] = np.where(scored, defocus, np.nan)
    return Scores(grid, px_mm2, prob, entropy.astype(np.float32), distance, quality, px, state)


def no_quality(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Measures of cells (rows, cols, 5) of a model that has nothing to compare with."""
    return np.full((*shape, len(Measure)), np.nan, np.float32)


def random_prob(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    return rng.dirichlet((0.5, 0.5, 0.5), size=shape).astype(np.float32)


@st.composite
def stores(draw: st.DrawFn, some_fit: bool = False) -> Scores:
    """Any complete store: all states, any pixel counts that fit them; `some_fit`: the first cell counts."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    state = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    px = draw(hnp.arrays(np.uint32, (*shape, 5), elements=st.integers(0, 4000)))
    if some_fit:
        state[0, 0], px[0, 0, 1] = CellState.SCORED, max(px[0, 0, 1], 1)
    px[..., 1] *= state == CellState.SCORED
    prob = np.where((state == CellState.SCORED)[..., None], random_prob(rng, shape), np.nan)
    store = scores(np.zeros((*shape, 3)))
    uncertainty = np.where(state == CellState.SCORED, rng.random(shape), np.nan).astype(np.float32)
    distance = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(DISTANCES)))
    ood = np.where(state == CellState.SCORED, distance, np.float32(np.nan))
    quality = no_quality(shape)
    quality[..., Measure.DEFOCUS] = draw(
        hnp.arrays(np.float32, shape, elements=st.sampled_from((*DISTANCES, np.nan)))
    )
    if some_fit:
        ood[0, 0], quality[0, 0, Measure.DEFOCUS] = 0, np.nan
    prob = prob.astype(np.float32)
    return replace(store, prob=prob, uncertainty=uncertainty, ood=ood, quality=quality, px=px, state=state)


def bounds(score: NecrosisScore) -> tuple[float, float]:
    """Percent viable if all that abstained were non-viable, and if it were viable."""
    found = score.percent_viable_if_abstained
    assert found is not None
    return found.all_non_viable, found.all_viable


thresholds = st.builds(
    settings,
    max_uncertainty=st.sampled_from([0.0, 0.3, 1.0]),
    max_ood=st.sampled_from([0.1, 1.0, 2.0, np.inf]),
    max_ood_share=st.sampled_from([0.0, 0.5, 1.0]),
    max_defocus=st.sampled_from([0.1, 1.0, np.inf]),
    max_defocus_share=st.sampled_from([0.0, 0.5, 1.0]),
    max_unreadable_share=st.sampled_from([0.2, 1.0]),
    min_tumour_mm2=st.sampled_from([0.0, 0.001]),
    estimator=st.sampled_from(["auto", "soft", "by_class"]),
    not_evaluable_top_prob=st.sampled_from([0.0, 0.6]),
)


def measured(blocks: tuple[int, int], **changes: Any) -> NecrosisScore:
    """Score of `blocks` (rows, cols) of 4 mm, always of the same cells."""
    prob = random_prob(np.random.default_rng(0), (8 * blocks[0], 8 * blocks[1]))
    return measure(scores(prob), settings(**changes))
