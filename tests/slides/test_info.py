from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest

from wsi_necrosis.errors import PixelSizeError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import (
    GivenMpp,
    SlideInfo,
    SlideWarning,
    check_given_mpp,
    pixel_size_warnings,
    settle_mpp,
)

PATH = Path("a.svs")
INFO = SlideInfo(
    path=PATH,
    files=(PATH,),
    vendor="aperio",
    reader="openslide",
    size_l0=(10, 10),
    plane=Box(0, 0, 10, 10),
    bounds_l0=(0, 0),
    downsamples=(1.0,),
    levels=((10, 10),),
    mpp=Mpp(0.5, 0.25),
    mpp_source="metadata",
    objective=None,
)


def test_known_mpp_is_the_pixel_size():
    assert INFO.known_mpp == Mpp(0.5, 0.25)


def test_unknown_mpp_names_the_way_out():
    unknown = replace(INFO, mpp=None, mpp_source="unknown")
    with pytest.raises(PixelSizeError, match=r"a\.svs carries no pixel size; give --mpp") as caught:
        _ = unknown.known_mpp
    assert caught.value.exit_code == 2


def test_implausible_mpp_names_its_value_and_the_way_out():
    mpp, source = settle_mpp(PATH, Mpp(352.78, 352.78), "TIFF resolution", None)
    assert mpp is None
    with pytest.raises(PixelSizeError, match=r"TIFF resolution \(352\.8\).*--mpp"):
        _ = replace(INFO, mpp=mpp, mpp_source=source).known_mpp


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (352.0, 352.0),
        (0.049, 0.5),
        (0.5, 20.1),
        (0.0, 0.5),
        (-0.5, -0.5),
        (0.2, 0.81),
        (math.nan, 0.5),
        (0.5, math.nan),
        (math.inf, 0.5),
    ],
)
def test_absurd_sizes_are_refused_wherever_they_come_from(x, y):
    assert settle_mpp(PATH, Mpp(x, y), "metadata", None)[0] is None
    with pytest.raises(PixelSizeError, match="--mpp"):
        check_given_mpp(GivenMpp(Mpp(x, y)))


@pytest.mark.parametrize("mpp", [Mpp(0.05, 0.2), Mpp(20, 20), Mpp(0.5, 0.25)])
def test_the_ends_of_the_range_are_accepted(mpp):
    check_given_mpp(GivenMpp(mpp))
    assert settle_mpp(PATH, mpp, "metadata", None) == (mpp, "metadata")


def test_a_given_size_replaces_the_stated_one(caplog):
    with caplog.at_level(logging.WARNING):
        close = GivenMpp(Mpp(0.51, 0.5))
        assert settle_mpp(PATH, Mpp(0.5, 0.5), "metadata", close) == (Mpp(0.51, 0.5), "--mpp")
        assert not caplog.records
        settle_mpp(PATH, Mpp(0.5, 0.5), "metadata", GivenMpp(Mpp(0.25, 0.5)))
    assert "--mpp 0.25 x 0.5 is used although the slide states 0.5" in caplog.text


def test_a_table_that_gives_a_size_is_named(caplog):
    given = GivenMpp(Mpp(0.25, 0.25), "table sizes.csv")
    assert settle_mpp(PATH, None, "metadata", given) == (given.mpp, "table sizes.csv")
    source = settle_mpp(PATH, Mpp(0.5, 0.5), "metadata", given)[1]
    assert source == "table sizes.csv, while the slide states 0.5"
    with pytest.raises(PixelSizeError, match=r"table sizes\.csv 40 is not plausible"):
        check_given_mpp(GivenMpp(Mpp(40, 40), "table sizes.csv"))


def test_names_of_scenes_can_be_left_out():
    said = SlideWarning(
        "scenes_left_out", "only scene 2: Janina, 9 x 9 px is measured; left out: 1: Eva, 8 x 8 px"
    )
    scenes = ("1: Eva, 8 x 8 px, 0.5 um", "2: Janina, 9 x 9 px, 0.5 um")
    found = replace(INFO, scenes=scenes, warnings=(said,), scene_names=("Eva", "Janina")).nameless()
    assert found.scenes == ("1: 8 x 8 px, 0.5 um", "2: 9 x 9 px, 0.5 um")
    assert found.warnings[0].text == "only scene 2: 9 x 9 px is measured; left out: 1: 8 x 8 px"
    assert found.scene_names == ()


def test_nothing_stated_is_unknown():
    assert settle_mpp(PATH, None, "metadata", None) == (None, "unknown")


@pytest.mark.parametrize(
    ("mpp", "objective", "said"),
    [
        (0.5, 40.0, "40x, and its pixel size is 0.5"),
        (1.27, 20.0, "20x, and its pixel size is 1.27"),
        (0.25 / 2.54, 40.0, "40x, and its pixel size is 0.09843"),
        (0.25 / 2.54, None, "per inch"),
    ],
)
def test_a_pixel_size_against_the_evidence_is_doubted(mpp, objective, said):
    (found,) = pixel_size_warnings(Mpp(mpp, mpp), "metadata", objective)
    assert found.code == "pixel_size_doubtful"
    assert said in found.text
    assert "--mpp" in found.text


@pytest.mark.parametrize(
    ("mpp", "objective"), [(0.25, 40.0), (0.5, 20.0), (1.0, 10.0), (0.1725, 40.0), (0.13, 83.0), (0.6, None)]
)
def test_usual_pixel_sizes_are_not_doubted(mpp, objective):
    assert pixel_size_warnings(Mpp(mpp, mpp), "metadata", objective) == ()
    assert pixel_size_warnings(None, "unknown", objective) == ()
