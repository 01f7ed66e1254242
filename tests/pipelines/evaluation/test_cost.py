from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.training_tiles import tiny
from wsi_necrosis.pipelines.evaluation import cost
from wsi_necrosis.pipelines.evaluation.cost import seconds_per_tile
from wsi_necrosis.slides.phantom import phantom_tiles

PIXELS = phantom_tiles("viable", 4, 32, np.random.default_rng(1))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was timed; each run of the network takes 4 s, each of the radiomics 1 s."""
    names: list[str] = []
    clock = [0.0]

    def timed(name: str, seconds: float) -> object:
        def work(*_: object) -> None:
            names.append(name)
            clock[0] += seconds

        return work

    monkeypatch.setattr(cost, "pooled_of", timed("network", 4.0))
    monkeypatch.setattr(cost, "measure", timed("radiomics", 1.0))
    monkeypatch.setattr(cost.time, "process_time", lambda: clock[0])
    return names


@pytest.mark.parametrize(
    ("fusion", "expected", "timed"),
    [
        ("gate", 5 / 4, {"network", "radiomics"}),
        ("image", 4 / 4, {"network"}),
        ("radiomics", 1 / 4, {"radiomics"}),
    ],
)
def test_the_branches_that_a_way_has_are_timed(
    fusion: str, expected: float, timed: set[str], ran: list[str]
) -> None:
    assert seconds_per_tile(PIXELS, tiny(f"network.fusion={fusion}")) == expected
    assert set(ran) == timed


def test_real_work_takes_time() -> None:
    assert 0 < seconds_per_tile(PIXELS, tiny()) < 10
