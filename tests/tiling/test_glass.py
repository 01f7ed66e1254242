import numpy as np
import pytest

from wsi_necrosis.tiling.glass import bare_glass


def picture(glass: tuple[int, int, int], share: float = 0.4) -> np.ndarray:
    """Textured tissue above, glass with noise below."""
    rng = np.random.default_rng(0)
    rgb = np.clip(rng.normal((190, 120, 180), 25, (200, 200, 3)), 0, 255)
    rgb[round(200 * (1 - share)) :] = np.clip(rng.normal(glass, 0.8, (round(200 * share), 200, 3)), 0, 255)
    return rgb.round().astype(np.uint8)


@pytest.mark.parametrize("glass", [(243, 243, 243), (243, 225, 243), (219, 243, 243), (225, 225, 205)])
@pytest.mark.parametrize("share", [0.05, 0.8])
def test_bare_glass_is_found_whatever_its_hue(glass: tuple[int, int, int], share: float) -> None:
    assert bare_glass(picture(glass, share)) == pytest.approx(np.array(glass), abs=1.5)


def test_saturated_glass_is_white_and_tissue_alone_has_none() -> None:
    assert bare_glass(picture((255, 255, 255))) == pytest.approx(np.full(3, 255))
    assert bare_glass(picture((243, 243, 243), share=0.0)) is None


def test_what_could_not_be_read_is_no_glass() -> None:
    rgb = picture((243, 243, 243))
    unreadable = np.zeros(rgb.shape[:2], bool)
    unreadable[120:] = True
    assert bare_glass(rgb, unreadable) is None
