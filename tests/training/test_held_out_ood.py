from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.training_tiles import STILL, in_case, tiny, views_of
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.stain.imaging import Light, defocus, relight
from wsi_necrosis.training.held_out_ood import HeldOutOod, abstained_nested, hold_out_ood
from wsi_necrosis.training.samples import Samples

CROPS, OOD = tiny().crops, tiny().ood


def test_a_crop_is_compared_with_the_tissue_of_other_cases(samples: Samples) -> None:
    found = hold_out_ood(samples, CROPS, OOD)
    assert found.tissue.all()
    for case in "ABC":
        rows = in_case(samples, case)
        others = OodDetector.fit(np.concatenate(found.points[~rows]), 1.0, OOD.shrinkage)
        np.testing.assert_array_equal(found.distance[rows], others.distance(found.points[rows, 0]))
    assert found.fit(OOD) == OodDetector.fit(
        np.concatenate(found.points), float(np.quantile(found.distance, OOD.keep)), OOD.shrinkage
    )


def test_glass_is_left_out_of_the_ood_detector(samples: Samples) -> None:
    """Crops of glass have a distance, but neither the detector nor its limit is fitted to them."""
    rows = np.arange(len(samples)) < 4  # the first tile
    pixels = np.where(rows[:, None, None, None], 250, samples.pixels).astype(np.uint8)
    found = hold_out_ood(replace(samples, pixels=pixels), CROPS, OOD)
    np.testing.assert_array_equal(found.tissue, ~rows)
    without = hold_out_ood(samples.only(samples.tiles[1:]), CROPS, OOD)
    np.testing.assert_array_equal(found.distance[~rows], without.distance)
    assert found.distance[rows].min() > without.distance.max()
    assert found.fit(OOD) == without.fit(OOD)
    assert abstained_nested(found, samples, OOD)["A"] == abstained_nested(
        without, samples.only(samples.tiles[1:]), OOD
    )["A"]  # fmt: skip


def test_a_case_of_glass_has_no_ood_share(samples: Samples) -> None:
    in_b = in_case(samples, "B")
    pixels = np.where(in_b[:, None, None, None], 250, samples.pixels).astype(np.uint8)
    found = hold_out_ood(replace(samples, pixels=pixels), CROPS, OOD)
    assert list(abstained_nested(found, samples, OOD)) == ["A", "C"]


def test_ood_shares_by_hand(samples: Samples) -> None:
    """Distances grow from case A to C; without C the limit is lower, and none of C lies within."""
    rules = OOD.model_copy(update={"keep": 0.75})
    distance = np.zeros(len(samples))
    for case, (low, high) in {"A": (0.0, 1.0), "B": (1.0, 2.0), "C": (2.0, 6.0)}.items():
        distance[in_case(samples, case)] = np.linspace(low, high, 12)
    found = HeldOutOod(np.zeros((36, 2, 6)), np.ones(36, bool), distance)
    shares = abstained_nested(found, samples, rules)
    limits = {
        "all": np.quantile(distance, 0.75),
        "others": np.quantile(distance[~in_case(samples, "C")], 0.75),
    }
    assert (limits["all"], limits["others"]) == pytest.approx((2.8182, 1.4773), abs=1e-4)
    assert shares["A"] == {"all": 0, "others": 0}
    assert shares["B"] == {"all": 0, "others": 0}
    assert shares["C"] == pytest.approx({"all": 9 / 12, "others": 1})
    assert found.limit(found.tissue, rules) == pytest.approx(limits["all"])


def test_the_detector_is_fitted_to_the_views(samples: Samples) -> None:
    """So that what the model was trained to bear is nearer: light, and focus."""
    found = hold_out_ood(samples, CROPS, OOD)
    views = views_of(samples)
    for row in (0, 20):
        np.testing.assert_array_equal(found.points[row], describe(views.of(row)))
    still = hold_out_ood(samples, tiny(*STILL).crops, OOD)
    odd = describe(relight(defocus(samples.pixels, 1.0, 1.0), Light(np.array([1.1, 1.0, 0.9]), 1.1)))
    varied, plain = (
        OodDetector.fit(np.concatenate(each.points), 1.0, OOD.shrinkage).distance(odd)
        for each in (found, still)
    )
    assert np.median(varied) < 0.75 * np.median(plain)


def test_a_share_of_keep_lies_within_the_limit(samples: Samples) -> None:
    found = hold_out_ood(samples, CROPS, OOD)
    limit = found.limit(found.tissue, OOD)
    assert np.mean(found.distance <= limit) == pytest.approx(OOD.keep, abs=1 / len(samples))
