"""How far crops of left-out cases are from the training crops, and the limit of the OOD detector that follows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.dataset.tiles import leave_case_out
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.settings.train import CropSettings, OodSettings
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training.samples import Samples
from wsi_necrosis.training.views import Views


@dataclass(frozen=True)
class HeldOutOod:
    """How far each crop is from the views of other cases' crops.

    Attributes
    ----------
    points : float64 array (m, views, d)
        Descriptions of the views of the crops, from `ood_features.describe`; the first view is the crop as it is.
    tissue : bool array (m,)
        Crops with enough tissue to be compared with.
    distance : float64 array (m,)
        Of each crop as it is from the views of all other cases.
    """

    points: NDArray[np.float64]
    tissue: NDArray[np.bool_]
    distance: NDArray[np.float64]

    def fit(self, settings: OodSettings) -> OodDetector:
        """The model's detector: fitted to views of all cases' tissue crops, with the limit from left-out cases."""
        points = np.concatenate(self.points[self.tissue])
        return OodDetector.fit(points, self.limit(self.tissue, settings), settings.shrinkage)

    def limit(self, rows: NDArray[np.bool_], settings: OodSettings) -> float:
        """The distance within which a share `settings.keep` of these crops lies."""
        return float(np.quantile(self.distance[rows], settings.keep))


def hold_out_ood(samples: Samples, crops: CropSettings, settings: OodSettings) -> HeldOutOod:
    """Distance of each case's crops from the views of the other cases' crops."""
    views = Views(samples.tiles, samples.owner, samples.pixels, crops)
    with ThreadPoolExecutor(crops.workers) as pool:
        points = np.stack(list(pool.map(lambda row: describe(views.of(row)), range(len(samples)))))
    tissue = foreground(samples.pixels).mean(axis=(1, 2)) >= settings.least_tissue
    distance = np.full(len(samples), np.nan)
    for fold in leave_case_out(samples.tiles):
        rows = samples.rows(fold.test)
        others = OodDetector.fit(np.concatenate(points[~rows & tissue]), 1.0, settings.shrinkage)
        distance[rows] = others.distance(points[rows, 0])
    return HeldOutOod(points, tissue, distance)


def abstained_nested(
    found: HeldOutOod, samples: Samples, settings: OodSettings
) -> dict[str, dict[str, float]]:
    """Share of each case's crops with tissue beyond the limit of the model, and beyond that of the other cases alone.

    A case without such crops is left out.
    """
    shares = {}
    for fold in leave_case_out(samples.tiles):
        rows = samples.rows(fold.test)
        of_case = found.distance[rows & found.tissue]
        if not len(of_case):
            continue
        limits = {
            "all": found.limit(found.tissue, settings),
            "others": found.limit(~rows & found.tissue, settings),
        }
        shares[fold.test[0].case] = {name: float((of_case > limit).mean()) for name, limit in limits.items()}
    return shares
