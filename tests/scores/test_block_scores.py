import numpy as np

from wsi_necrosis.scores.block_scores import CellState, failed_block
from wsi_necrosis.tiling.grid import PixelCount


def test_a_failed_block_keeps_every_pixel_and_scores_none() -> None:
    px = np.random.default_rng(0).integers(0, 9, (3, 4, 5), np.uint32)
    px[0, 0, PixelCount.TISSUE], px[1, 1, PixelCount.TISSUE] = 0, 5
    before = px.copy()
    found = failed_block(px, 2)
    assert np.array_equal(px, before)
    assert np.array_equal(found.px, px)
    assert np.array_equal(found.state == CellState.FAILED, px[..., PixelCount.TISSUE] > 0)
    assert found.state[0, 0] == CellState.NO_TISSUE
    assert np.isnan(found.prob).all()
    assert found.radiomics.shape == (3, 4, 2)
