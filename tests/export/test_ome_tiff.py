from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile

from wsi_necrosis.export.ome_tiff import write_ome_tiff
from wsi_necrosis.export.picture import heat_colours
from wsi_necrosis.quantify.heatmap import CHANNELS, pyramid


@pytest.fixture
def slide(made_up: Callable[..., Any]) -> Any:
    return made_up(cols=5000, rows=60)  # cells enough for a pyramid


@pytest.fixture
def path(slide: Any, tmp_path: Path) -> Path:
    write_ome_tiff(tmp_path / "heatmap.ome.tiff", slide.heatmap, "Präparat <7>", "f")
    return tmp_path / "heatmap.ome.tiff"


def test_tifffile_finds_both_images_with_their_levels(path: Path, slide: Any) -> None:
    levels = pyramid(slide.heatmap)
    assert len(levels) > 1
    with tifffile.TiffFile(path) as file:
        colours, numbers = file.series
        assert (colours.name, colours.axes, numbers.axes) == ("Präparat <7>, viable", "YXS", "CYX")
        for level, found in zip(levels, numbers.levels, strict=True):
            np.testing.assert_array_equal(found.asarray(), level.channels)
        ome = tifffile.xml2dict(file.ome_metadata)["OME"]
    viable = slide.heatmap.channels[2]
    known = np.isfinite(viable)
    with tifffile.TiffFile(path) as file:
        picture = file.series[0].asarray()
    np.testing.assert_array_equal(picture[known], heat_colours(viable[known]))
    assert (picture[~known] == 255).all()
    pixels = ome["Image"][1]["Pixels"]
    assert [each["Name"] for each in pixels["Channel"]] == list(CHANNELS)
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"]) == slide.heatmap.cell_um


def test_openslide_opens_it_with_the_size_of_a_cell(path: Path, slide: Any) -> None:
    with openslide.OpenSlide(path) as found:
        assert found.dimensions == slide.heatmap.label.shape[::-1]
        um = [float(found.properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
    assert um == pytest.approx(slide.heatmap.cell_um)
