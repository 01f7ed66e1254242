"""Tissue stays, however pale; glass stays out, however shaded, tinted or noisy."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import Overview, read_overview
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling import tissue
from wsi_necrosis.tiling.glass import DEFAULT_GLASS, glass_colour
from wsi_necrosis.tiling.mask import MaskClass, TissueMask
from wsi_necrosis.tiling.tissue import find_tissue

SETTINGS = load_settings().tissue
SHRINK = 8  # level-0 pixels of 0.5 um per mask pixel of 4 um
SIDE = 768  # of a field of glass, in level-0 pixels


def overview(rgb: NDArray[np.uint8], mpp_um: float = 4.0) -> Overview:
    height, width = rgb.shape[:2]
    plane = Box(0, 0, width * SHRINK, height * SHRINK)
    return Overview(rgb, np.zeros((height, width), bool), plane, (SHRINK, SHRINK), Mpp(mpp_um, mpp_um))


def masked(rgb: NDArray[np.uint8]) -> TissueMask:
    return find_tissue(overview(rgb), SETTINGS)


def share(rgb: NDArray[np.uint8], kind: MaskClass = MaskClass.TISSUE) -> float:
    return float((masked(rgb).kind == kind).mean())


def shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (length // SHRINK for length in rgb.shape[:2])
    parts = rgb[: height * SHRINK, : width * SHRINK].reshape(height, SHRINK, width, SHRINK, 3)
    return np.asarray(np.round(parts.mean(axis=(1, 3), dtype=np.float32)), np.uint8)


def scanned(field: NDArray[np.floating], sigma: float, quality: int, seed: int = 0) -> NDArray[np.uint8]:
    """What a scanner makes of a field of grey levels at level 0: noise, JPEG; then averaged to 4 um."""
    noise = sigma * np.random.default_rng(seed).standard_normal(field.shape, np.float32)
    file = io.BytesIO()
    pixels = np.clip(np.round(field + noise), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return shrunk(np.asarray(Image.open(file)))


def flat(colour: tuple[float, float, float], side: int = SIDE) -> NDArray[np.float32]:
    field: NDArray[np.float32] = np.broadcast_to(np.array(colour, np.float32), (side, side, 3))
    return field


def shading(tint: tuple[float, float, float] = (1, 1, 1)) -> NDArray[np.float32]:
    field = np.linspace(225, 248, SIDE)[:, None, None] * np.array(tint) * np.ones((1, SIDE, 1))
    return np.asarray(field, np.float32)


def read_image(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize(
    ("sigma", "quality"), [(0, 75), (2, 75), (4, 75), (4, 85), (4, 95), (6, 50), (6, 85)]
)
def test_shaded_glass_is_glass(sigma: float, quality: int) -> None:
    assert share(scanned(shading(), sigma, quality)) < 0.001


@pytest.mark.parametrize(
    "colour",
    [(243, 241, 236), (238, 241, 245), (240, 235, 225), (245, 238, 243), (230, 230, 230), (255, 255, 255)],
)
@pytest.mark.parametrize(("sigma", "quality"), [(2, 75), (4, 85)])
def test_tinted_glass_is_glass(colour: tuple[float, float, float], sigma: float, quality: int) -> None:
    rgb = scanned(flat(colour), sigma, quality)
    assert share(rgb) < 0.001
    assert np.allclose(glass_colour(overview(rgb)), colour, atol=2)


def test_shaded_and_tinted_glass_is_glass() -> None:
    assert share(scanned(shading((1, 0.99, 0.97)), 4, 80)) < 0.001


def test_unscanned_white_beside_tinted_glass_is_glass() -> None:
    rgb = scanned(flat((241, 236, 239)), 2, 80)
    rgb[:, :60] = 255
    assert share(rgb) < 0.001


def blotches(side: int, grey: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Texture of patches 40 um across; eosin takes green most."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side // 8, side // 8)), 5, mode="wrap")
    fine = np.kron(noise / noise.std(), np.ones((8, 8)))
    return np.asarray(grey * fine[..., None] * (0.6, 1.2, 0.9), np.float32)


@pytest.mark.parametrize(
    ("base", "glass", "grey", "quality"),
    [
        ((246, 228, 238), 243, 3, 75),
        ((246, 228, 238), 240, 6, 85),  # one place in fifty is as light as the glass
        ((241, 232, 237), 243, 3, 75),  # half the colour
    ],
)
def test_pale_necrosis_of_2_mm_is_kept(
    base: tuple[int, int, int], glass: int, grey: float, quality: int
) -> None:
    assert abs(np.dot(base, (0.299, 0.587, 0.114)) - 235) < 1
    side, edge = 4544, 264
    field = np.full((side, side, 3), glass, np.float32)
    field[edge:-edge, edge:-edge] = (
        base + blotches(side, grey, np.random.default_rng(1))[edge:-edge, edge:-edge]
    )
    kind = masked(scanned(field, 3, quality)).kind
    cut = edge // SHRINK
    inside = np.zeros(kind.shape, bool)
    inside[cut:-cut, cut:-cut] = True
    assert inside[cut].sum() * 4 > 2000
    assert (kind[inside] == MaskClass.TISSUE).mean() > 0.99
    assert (kind[~inside] == MaskClass.TISSUE).mean() < 0.01


def ellipse(rng: np.random.Generator, side: int, width_um: float) -> NDArray[np.bool_]:
    x, y = rng.uniform(0.45, 0.55, 2) * side
    turn = rng.uniform(0, np.pi)
    rows, cols = np.mgrid[:side, :side]
    along = (cols - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    across = (rows - y) * np.cos(turn) - (cols - x) * np.sin(turn)
    return np.asarray(np.hypot(along, across / 0.8) < width_um)  # radius in half-micrometre pixels


@pytest.mark.parametrize("colour", [(120, 90, 165), (236, 203, 231), (200, 80, 110), (30, 30, 30)])
@pytest.mark.parametrize("seed", [0, 1])
def test_area_of_half_a_millimetre_is_unbiased(colour: tuple[int, int, int], seed: int) -> None:
    shape = ellipse(np.random.default_rng(seed), 1280, 500)
    field = np.where(shape[..., None], np.array(colour, np.float32), 243)
    mask = masked(scanned(field, 3, 80, seed))
    assert mask.area_mm2()["tissue"] == pytest.approx(shape.sum() * 0.25e-6, rel=0.005)


def test_nest_of_cells_alone_on_glass_is_kept_and_dust_is_listed() -> None:
    field = np.full((SIDE, SIDE, 3), 243, np.float32)
    field[200:248, 200:248] = (130, 100, 170)  # 24 um
    field[600:616, 600:616] = (130, 100, 170)  # 8 um
    kind = masked(scanned(field, 2, 80)).kind
    assert (kind == MaskClass.TISSUE).sum() == pytest.approx(36, abs=8)
    assert (kind[:60] == MaskClass.SPECK).sum() == 0
    assert 1 <= (kind[70:] == MaskClass.SPECK).sum() < 16


def test_small_holes_belong_to_tissue_and_large_ones_do_not() -> None:
    rgb = np.full((128, 128, 3), (200, 120, 170), np.uint8)
    rgb[30:38, 30:38] = 243  # 32 um
    rgb[70:100, 70:100] = 243  # 120 um
    kind = masked(rgb).kind
    assert (kind[28:40, 28:40] == MaskClass.TISSUE).all()
    assert (kind[72:98, 72:98] == MaskClass.GLASS).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (16, 16), (3, 100)])
@pytest.mark.parametrize("grey", [0, 50, 128, 200, 243, 255])
def test_tiny_slides_of_one_colour(shape: tuple[int, int], grey: int) -> None:
    mask = masked(np.full((*shape, 3), grey, np.uint8))
    speck = mask.kind.size * mask.px_mm2 * 1e6 < SETTINGS.min_piece_um2
    dark = MaskClass.SPECK if speck else MaskClass.TISSUE
    assert mask.kind.shape == shape
    assert (mask.kind == (dark if grey <= 128 else MaskClass.GLASS)).all()


def test_slide_without_glass_is_measured_against_usual_glass() -> None:
    rgb = scanned(flat((246, 228, 238)), 3, 80)
    assert glass_colour(overview(rgb)).tolist() == list(DEFAULT_GLASS)
    assert share(rgb) == 1


def test_little_glass_is_found_beside_much_flat_pale_tissue() -> None:
    field = np.array(flat((240, 233, 238)))
    field[: SIDE // 6] = 244
    rgb = scanned(field, 1, 85)
    assert np.allclose(glass_colour(overview(rgb)), 244, atol=1)
    assert share(rgb) == pytest.approx(5 / 6, abs=0.02)


def test_unreadable_pixels_are_neither_tissue_nor_glass_whatever_they_hold() -> None:
    rgb = np.full((64, 96, 3), 243, np.uint8)
    rgb[10:50, 10:50] = (200, 120, 170)
    unreadable = np.zeros((64, 96), bool)
    unreadable[20:30, 40:80] = True
    masks = []
    for paint in (0, 255):
        rgb[unreadable] = paint
        masks.append(find_tissue(replace(overview(rgb), unreadable=unreadable), SETTINGS))
    kind = masks[0].kind
    assert (kind == masks[1].kind).all()
    assert ((kind == MaskClass.UNREADABLE) == unreadable).all()
    assert (kind[12:48, 12:38] == MaskClass.TISSUE).all()
    assert (kind[:, 55:][~unreadable[:, 55:]] == MaskClass.GLASS).all()


def test_a_slide_of_which_nothing_is_readable() -> None:
    nothing = replace(overview(np.zeros((9, 9, 3), np.uint8)), unreadable=np.ones((9, 9), bool))
    assert (find_tissue(nothing, SETTINGS).kind == MaskClass.UNREADABLE).all()


@settings(max_examples=8, deadline=None)
@given(strip=st.integers(40, 200), seed=st.integers(0, 99))
def test_the_height_of_strips_changes_nothing(strip: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((260, 90)), 6)
    absorbed = np.clip(900 * smooth, 0, 90)[..., None] * (0.7, 1, 0.8)
    rgb = np.asarray(243 - absorbed, np.uint8)
    whole = masked(rgb).kind
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tissue, "STRIP_PX", strip)
        assert (masked(rgb).kind == whole).all()


@pytest.mark.parametrize("mpp", [Mpp(0.5, 0.5), Mpp(0.5, 0.25), Mpp(0.46, 0.46)], ids=str)
def test_area_of_a_phantom(mpp: Mpp, tmp_path: Path) -> None:
    truth = write_phantom(tmp_path / "a.tiff", np.random.default_rng(5), side_mm=1.5, mpp=mpp)
    with open_slide(tmp_path / "a.tiff") as slide:
        mask = find_tissue(read_overview(slide, SETTINGS.mpp_um), SETTINGS)
    assert mask.area_mm2()["tissue"] == pytest.approx(sum(truth.area_mm2.values()), rel=0.005)


def test_real_blank_glass(data_dir: Path) -> None:
    rgb = read_image(data_dir / "ood" / "histolab_no-tissue.png")
    assert share(rgb) < 0.01
    assert share(shrunk(rgb)) < 0.01


def test_glass_of_a_montage(data_dir: Path, tmp_path: Path) -> None:
    tool, slide_path = data_dir.parent / "tools" / "montage.py", tmp_path / "m.tiff"
    command = [sys.executable, str(tool), "--tiles", str(data_dir / "tcia_os"), "--cells", "4"]
    subprocess.run(
        [*command, "--out", str(slide_path), "--vendor", "generic"], check=True, capture_output=True
    )
    truth = json.loads((tmp_path / "m.truth.json").read_text())
    with open_slide(slide_path) as slide:
        kind = find_tissue(read_overview(slide, SETTINGS.mpp_um), SETTINGS).kind
    glass = np.ones((4, 4), bool)
    for cell in truth["lattice"]:
        glass[cell["row"], cell["col"]] = False
    assert glass.any()
    side = truth["cell_px"] // SHRINK
    assert (kind[np.kron(glass, np.ones((side, side), bool))] == MaskClass.TISSUE).mean() < 0.01


def test_non_viable_tissue_of_real_tiles_is_kept(data_dir: Path) -> None:
    """By visual inspection, what is left out of these tiles is open space."""
    with (data_dir / "tcia_os" / "labels.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file) if row["label"] == "Non-Viable-Tumor"]
    kept = [share(shrunk(read_image(data_dir / "tcia_os" / name))) for name in names]
    assert len(kept) == 16
    assert np.mean(kept) > 0.94
    assert np.median(kept) > 0.98
    assert min(kept) > 0.7


@pytest.mark.parametrize(
    ("name", "mpp", "tissue_mm2"),
    [("CMU-1-Small-Region", None, 0.61), ("tcga-cr-7395-01a-01-ts1", Mpp(0.5, 0.5), 2.47)],
)
def test_real_slides(name: str, mpp: Mpp | None, tissue_mm2: float, data_dir: Path) -> None:
    with open_slide(data_dir / "slides" / f"{name}.svs", mpp) as slide:
        mask = find_tissue(read_overview(slide, SETTINGS.mpp_um), SETTINGS)
    assert mask.area_mm2()["tissue"] == pytest.approx(tissue_mm2, rel=0.03)


def test_fluorescence_is_dark_and_all_of_it_is_found(data_dir: Path) -> None:
    with open_slide(data_dir / "slides" / "test3-DAPI-2-387.ndpi") as slide:
        mask = find_tissue(read_overview(slide, 32.0), SETTINGS)
    assert (mask.kind == MaskClass.TISSUE).all()
