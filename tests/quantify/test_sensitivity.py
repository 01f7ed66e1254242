from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.complete_scores import SHIPPED, random_prob, scores, settings
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.quantify.sensitivity import TRIED, sensitivity

STORE = scores(
    random_prob(np.random.default_rng(0), (12, 12)), ood=np.random.default_rng(1).random((12, 12)) * 2
)


def test_each_threshold_is_tried_by_itself() -> None:
    wanted = settings(max_uncertainty=0.85, min_tumour_mm2=0.0, max_ood_share=1.0)
    found = sensitivity(STORE, wanted)
    now = measure(STORE, wanted)
    assert [each.setting for each in found if each.is_set] == list(TRIED)
    assert all(each.points == 0 for each in found if each.is_set)
    assert [each.value for each in found if each.setting == "max_uncertainty"] == [
        0.5,
        0.6,
        0.7,
        0.8,
        0.85,
        0.9,
        1.0,
    ]
    for each in found:
        if each.setting == "max_ood":
            again = measure(STORE, wanted.model_copy(update={"max_ood": each.value}))
            assert each.percent_viable == again.percent_viable
            assert each.abstained_mm2 == again.ledger.abstained * again.ledger.pixel_mm2
            assert again.percent_viable is not None
            assert now.percent_viable is not None
            assert each.points == pytest.approx(again.percent_viable - now.percent_viable)
    assert len({each.percent_viable for each in found if each.setting == "min_focus_mm2"}) > 1


def test_a_slide_that_is_not_evaluable_says_why() -> None:
    found = sensitivity(STORE, SHIPPED.model_copy(update={"min_tumour_mm2": 1e6}))
    assert {each.reason for each in found} <= {"too_little_tumour", "no_tumour", "out_of_domain", "undecided"}
    assert {each.points for each in found} == {None}
