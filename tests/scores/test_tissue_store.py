from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import StoreError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.tissue_store import read_mask, read_tissue, write_tissue
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.mask import MaskClass, Tissue, TissueMask


def painted(height: int, width: int, seed: int = 0) -> Tissue:
    rng = np.random.default_rng(seed)
    plane, px_l0, mpp = Box(3.0, 5.0, 8.0 * width, 4.0 * height), (8, 4), Mpp(4.0, 3.9)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    kind = rng.choice(np.array(list(MaskClass), np.uint8), (height, width))
    overview = Overview(rgb, kind == MaskClass.UNREADABLE, plane, px_l0, mpp)
    finer = np.repeat(np.repeat(rgb, 2, axis=0), 2, axis=1)
    lost = np.repeat(np.repeat(overview.unreadable, 2, axis=0), 2, axis=1)
    picture = Overview(finer, lost, plane, (4, 2), Mpp(2.0, 1.95)) if seed % 2 else overview
    return Tissue(overview, TissueMask(kind, plane, px_l0, mpp), picture)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("slide")
    tissue = painted(height, width, seed)
    overview, mask = tissue.overview, tissue.mask
    write_tissue(folder, tissue)
    found = read_tissue(folder)
    assert (found.picture is found.overview) == (tissue.picture is overview)
    np.testing.assert_array_equal(found.picture.rgb, tissue.picture.rgb)
    np.testing.assert_array_equal(found.picture.unreadable, tissue.picture.unreadable)
    for before, after in ((overview, found.overview), (mask, found.mask), (tissue.picture, found.picture)):
        assert (after.plane, after.px_l0, after.mpp) == (before.plane, before.px_l0, before.mpp)
    np.testing.assert_array_equal(found.overview.rgb, overview.rgb)
    np.testing.assert_array_equal(found.overview.unreadable, overview.unreadable)
    np.testing.assert_array_equal(found.mask.kind, mask.kind)
    assert found.overview.rgb.dtype == found.mask.kind.dtype == np.uint8
    assert found.overview.unreadable.dtype == bool
    for alone in (read_mask(folder), read_mask(folder, in_memory=False)):
        assert (alone.plane, alone.px_l0, alone.mpp) == (mask.plane, mask.px_l0, mask.mpp)
        np.testing.assert_array_equal(alone.kind[1:9], mask.kind[1:9])


def test_a_later_one_replaces_an_earlier_one(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_tissue(tmp_path, painted(20, 30, seed))
    np.testing.assert_array_equal(read_tissue(tmp_path).mask.kind, painted(20, 30, 2).mask.kind)
    assert [path.name for path in tmp_path.iterdir()] == ["tissue.zarr"]


@pytest.mark.parametrize("damage", ["nothing there", "array gone", "facts gone"])
def test_a_damaged_one_is_named(tmp_path: Path, damage: str) -> None:
    if damage != "nothing there":
        write_tissue(tmp_path, painted(20, 30))
        lost = tmp_path / "tissue.zarr" / ("mask/zarr.json" if damage == "array gone" else "zarr.json")
        lost.unlink()
    with pytest.raises(StoreError, match=r"tissue\.zarr is missing or damaged"):
        read_tissue(tmp_path)
