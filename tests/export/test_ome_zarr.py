from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image
from ome_zarr_models.v05.image_label import ImageLabel
from ome_zarr_models.v05.labels import Labels

from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.quantify.heatmap import pyramid
from wsi_necrosis.quantify.palette import PALETTE

WIDE = 70 * 32  # mask pixels: 70 cells, so that there are two levels


@pytest.fixture
def written(made_up: Callable[..., Any], tmp_path: Path) -> tuple[Any, zarr.Group]:
    slide = made_up(cols=WIDE, rows=200)
    write_ome_zarr(tmp_path / "heatmap.ome.zarr", slide.heatmap, "a slide")
    return slide, zarr.open_group(tmp_path / "heatmap.ome.zarr", mode="r")


def test_is_valid_ome_zarr(written: tuple[Any, zarr.Group]) -> None:
    _, root = written
    assert root.metadata.zarr_format == 3
    image = Image.from_zarr(root)
    assert image.attributes.ome.version == "0.5"
    assert Labels.from_zarr(root["labels"]).attributes.ome.labels == ["classes"]
    label = ImageLabel.from_zarr(root["labels/classes"])
    assert len(label.attributes.ome.multiscales[0].datasets) == len(
        image.attributes.ome.multiscales[0].datasets
    )


def test_arrays_are_the_pyramid(written: tuple[Any, zarr.Group]) -> None:
    slide, root = written
    levels = pyramid(slide.heatmap)
    assert len(levels) == 2
    for k, level in enumerate(levels):
        image, label = root[str(k)], root[f"labels/classes/{k}"]
        np.testing.assert_array_equal(image[...], level.channels)
        np.testing.assert_array_equal(label[...], level.label)
        assert (image.metadata.dimension_names, label.metadata.dimension_names) == (
            ("c", "y", "x"),
            ("y", "x"),
        )
        assert (image.dtype, label.dtype) == (np.float32, np.uint8)
        assert np.isnan(image.fill_value)
    assert np.isnan(root["0"][...]).any()
    assert np.isfinite(root["0"][...]).any()


def test_pixels_lie_where_their_cells_do(written: tuple[Any, zarr.Group]) -> None:
    _, root = written
    scale = root.attrs["ome"]["multiscales"][0]
    assert [axis.get("unit") for axis in scale["axes"]] == [None, "micrometer", "micrometer"]
    # the plane starts at pixel (1000, 600) of 0.5 x 1.0 um; cells are 128 um
    near, far = (dataset["coordinateTransformations"] for dataset in scale["datasets"])
    assert near[0] == {"type": "scale", "scale": [1.0, 128.0, 128.0]}
    assert near[1] == {
        "type": "translation",
        "translation": [0.0, 600 + (128 - 1) / 2, 500 + (128 - 0.5) / 2],
    }
    assert far[0]["scale"] == [1.0, 256.0, 256.0]
    assert far[1]["translation"] == [0.0, 600 + (256 - 1) / 2, 500 + (256 - 0.5) / 2]
    labels = root["labels/classes"].attrs["ome"]["multiscales"][0]
    assert labels["datasets"][0]["coordinateTransformations"][0]["scale"] == [128.0, 128.0]
    assert labels["datasets"][1]["coordinateTransformations"][1]["translation"] == far[1]["translation"][1:]


def test_colours_are_absolute_and_labels_are_named(written: tuple[Any, zarr.Group]) -> None:
    _, root = written
    channels = root.attrs["ome"]["omero"]["channels"]
    assert [channel["label"] for channel in channels] == [
        "p_non_tumour",
        "p_non_viable",
        "p_viable",
        "uncertainty",
    ]
    assert all(channel["window"] == {"min": 0, "max": 1, "start": 0, "end": 1} for channel in channels)
    marks = root["labels/classes"].attrs["ome"]["image-label"]
    assert {c["label-value"]: tuple(c["rgba"]) for c in marks["colors"]} == {
        value: (*colour.rgb, 255) for value, colour in PALETTE.items()
    }
    assert marks["properties"][2] == {"label-value": 3, "name": "Viable tumour"}


def test_replaces_a_larger_one(made_up: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "heatmap.ome.zarr"
    write_ome_zarr(path, made_up(cols=WIDE, rows=40).heatmap, "before")
    write_ome_zarr(path, made_up(cols=64, rows=40).heatmap, "after")
    assert sorted(item.name for item in path.iterdir()) == ["0", "labels", "zarr.json"]
    assert zarr.open_group(path, mode="r")["0"].shape == (4, 2, 2)
