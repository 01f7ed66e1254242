import logging

import pytest

from wsi_necrosis.pace import paced, spoken


def test_a_long_loop_says_how_far_it_is_and_how_long_it_takes(caplog: pytest.LogCaptureFixture) -> None:
    times = iter(range(0, 1000, 4))
    with caplog.at_level(logging.INFO, "wsi_necrosis"):
        assert list(paced(range(20), 20, "fits", lambda: next(times))) == list(range(20))
    assert caplog.messages == [
        "fits: 2 of 20, about 72 s left",
        "fits: 7 of 20, about 52 s left",
        "fits: 12 of 20, about 32 s left",
        "fits: 17 of 20, about 12 s left",
    ]


def test_a_short_one_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "wsi_necrosis"):
        assert list(paced("abc", 3, "letters")) == ["a", "b", "c"]
    assert not caplog.messages


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (90, "2 minutes"), (5400, "1.5 hours")]
)
def test_a_duration_is_said_in_words(seconds: float, said: str) -> None:
    assert spoken(seconds) == said
