import dataclasses
import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.phantom_model import phantom_spec
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.inference.job import Job, slide_normaliser
from wsi_necrosis.inference.worker import open_same_slide, require_same_setup
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.stain.normalise import Normaliser, fit_normaliser
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


def stained(rng: np.random.Generator, n: int) -> np.ndarray:
    """Pixels (n, n, 3) that mix two stains."""
    weights = rng.uniform(0.2, 1.2, (n, n, 2))
    density = weights @ np.array([[0.55, 0.72, 0.43], [0.15, 0.85, 0.5]])
    return np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8)


def painted_overview() -> tuple[Overview, TissueMask]:
    """Tissue with small holes of glass in it that the mask counts as tissue, and glass around."""
    rgb = np.full((80, 80, 3), 243, np.uint8)
    rgb[10:70, 10:70] = stained(np.random.default_rng(0), 60)
    rgb[12:68:4, 12:68:4] = 243
    kind = np.full((80, 80), MaskClass.GLASS, np.uint8)
    kind[10:70, 10:70] = MaskClass.TISSUE
    plane, mpp = Box(0, 0, 640, 640), Mpp(4.0, 4.0)
    return Overview(rgb, kind < 0, plane, (8, 8), mpp), TissueMask(kind, plane, (8, 8), mpp)


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_normalisers_are_fitted_to_tissue_without_its_holes(method: str) -> None:
    overview, mask = painted_overview()
    tissue = overview.rgb[(overview.rgb < 240).any(axis=-1)]
    assert len(tissue) < (mask.kind == MaskClass.TISSUE).sum()
    found = slide_normaliser(replace(phantom_spec(), normalise=method), overview, mask)
    assert found == fit_normaliser(method, tissue)
    assert slide_normaliser(phantom_spec(), overview, mask) is None


def test_a_job_can_be_pickled(job: Job) -> None:
    again = pickle.loads(pickle.dumps(job))  # noqa: S301  # our own bytes
    assert again == job
    assert len(pickle.dumps(job)) < 10_000
    require_same_setup(again)
    slide, _ = open_same_slide(again)
    slide.close()
    fitted = dataclasses.replace(job, normaliser=Normaliser("macenko", ((0.9, 0.1, 0.0),) * 3))
    assert pickle.loads(pickle.dumps(fitted)) == fitted != job  # noqa: S301  # our own bytes
