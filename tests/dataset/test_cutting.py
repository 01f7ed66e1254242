from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from tests.helpers.annotations import Ring, feature, geojson, square
from tests.helpers.odd_slides import write_levels
from tests.helpers.tile_folders import table, tile
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.crops import cut_crops
from wsi_necrosis.dataset.cutting import cut_slides
from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.tables import read_table
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.slides.phantom import MATERIALS, PhantomTruth, Shape, write_phantom


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def outline(shape: Shape, mpp: Mpp) -> Ring:
    """A blob's edge in level-0 pixels; it is where radius(angle) says."""
    angle = np.linspace(0, 2 * np.pi, 400)
    waves = zip((2, 3), shape.waves, shape.phases, strict=True)
    radius = shape.radius_um * (1 + sum(wave * np.cos(turns * angle + phase) for turns, wave, phase in waves))
    x, y = shape.x_um + radius * np.cos(angle), shape.y_um + radius * np.sin(angle)
    return np.stack([x / mpp.x, y / mpp.y], axis=-1).tolist()


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PhantomTruth]:
    """A slide of 2400 x 1200 pixels that are twice as high as wide, and its table."""
    folder = tmp_path_factory.mktemp("phantom")
    truth = write_phantom(folder / "made.tif", np.random.default_rng(3), side_mm=1.2, mpp=Mpp(0.5, 1.0))
    rings = {name: outline(truth.shape(name), truth.mpp) for name in ("necrosis", "core", "viable", "stroma")}
    features = [
        feature("Necrosis", rings["necrosis"], hole=rings["core"]),
        feature("Tumor", rings["core"]),
        feature("Viable tumour", rings["viable"]),
        feature("Stroma", rings["stroma"]),
        feature("Region*", square(0, 0, 2400, 1200)),
    ]
    geojson(folder / "made.geojson", features)
    row = {"slide": "made.tif", "case": "P", "annotations": "made.geojson"}
    return table(folder / "slides.csv", [row]), truth


@pytest.fixture(scope="module")
def from_phantom(
    phantom: tuple[Path, PhantomTruth], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Entry, ...]:
    scratch = tmp_path_factory.mktemp("scratch") / "made" / "here"
    return read_table(cut_slides(phantom[0], scratch, Field(32, 1.0), 0.9))


def test_tiles_show_what_was_painted_under_their_annotation(from_phantom: tuple[Entry, ...]) -> None:
    assert {entry.label for entry in from_phantom} == set(CLASSES)
    assert len(from_phantom) > 60
    for entry in from_phantom:
        mean = pixels(entry.path).mean(axis=(0, 1))
        distance = {name: np.abs(mean - colour).max() for name, colour in MATERIALS.items()}
        assert min(distance, key=distance.__getitem__) == entry.label
        assert distance[entry.label] < 25  # a tenth of the tile may be something else


def test_tiles_are_averages_of_whole_pixels_along_both_axes(
    phantom: tuple[Path, PhantomTruth], from_phantom: tuple[Entry, ...]
) -> None:
    with openslide.OpenSlide(phantom[0].with_name("made.tif")) as slide:
        for entry in from_phantom[::10]:
            region = slide.read_region((entry.x_l0, entry.y_l0), 0, (64, 32)).convert("RGB")
            np.testing.assert_array_equal(pixels(entry.path), np.asarray(region.reduce((2, 1))))


def test_tiles_lie_on_a_grid_and_say_where_they_come_from(from_phantom: tuple[Entry, ...]) -> None:
    assert all((entry.x_l0 % 64, entry.y_l0 % 32) == (0, 0) for entry in from_phantom)
    assert {(entry.case, entry.slide, entry.mpp) for entry in from_phantom} == {("P", "made.tif", 1.0)}
    assert all(pixels(entry.path).shape == (32, 32, 3) for entry in from_phantom)


def test_tiles_of_any_pixel_size_are_as_large_as_wanted(
    phantom: tuple[Path, PhantomTruth], tmp_path: Path
) -> None:
    found = read_table(cut_slides(phantom[0], tmp_path, Field(40, 1.37), 0.9))
    assert found[0].mpp == pytest.approx(1.37)
    assert all(pixels(entry.path).shape == (40, 40, 3) for entry in found)


@pytest.fixture
def two(tmp_path: Path, made_up_slides: Callable[..., None]) -> Path:
    """Two slides of one name whose bounds begin at (10, 5), annotated from there on."""
    made_up_slides(Mpp(1.0, 1.0))
    rows = []
    for at, folder in enumerate("pq"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "s.svs").write_text(folder)
        ring = square(0, 0, 30, 20) if at == 0 else square(40, 30, 20, 20)
        geojson(tmp_path / folder / "s.geojson", [feature("Tumor", ring)])
        rows.append({"slide": f"{folder}/s.svs", "case": folder, "annotations": f"{folder}/s.geojson"})
    return table(tmp_path / "slides.csv", rows)


def test_annotations_begin_at_the_bounds_and_lost_or_overhanging_tiles_are_left_out(
    two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = read_table(cut_slides(two, tmp_path, Field(10, 1.0), 0.75))
    places = [(entry.slide, entry.x_l0, entry.y_l0) for entry in found]
    # of p, the tile at (20, 5) has lost pixels; of q, the one at (50, 45) overhangs
    assert places == [
        *(("p/s.svs", x, y) for x, y in ((10, 5), (30, 5), (10, 15), (20, 15), (30, 15))),
        ("q/s.svs", 50, 35),
    ]
    assert "p/s.svs: 5 tiles; left out are 0 that overhang the slide, 1 that cannot be read" in caplog.text
    assert "q/s.svs: 1 tiles; left out are 1 that overhang the slide, 0 that cannot be read" in caplog.text
    for entry in found:
        assert pixels(entry.path)[0, 0].tolist() == [entry.x_l0, entry.y_l0, 0]
        assert pixels(entry.path)[-1, -1].tolist() == [entry.x_l0 + 9, entry.y_l0 + 9, 0]


def test_a_second_call_cuts_nothing(two: Path, tmp_path: Path) -> None:
    path = cut_slides(two, tmp_path, Field(10, 1.0), 0.75)
    before = {item: item.stat().st_mtime_ns for item in path.parent.iterdir()}
    assert {item.name for item in before} >= {"labels.csv", "inputs.json"}
    assert cut_slides(two, tmp_path, Field(10, 1.0), 0.75) == path
    assert {item: item.stat().st_mtime_ns for item in path.parent.iterdir()} == before


@pytest.mark.parametrize("change", ["annotation", "slide", "case", "field", "min_cover", "mpp", "record"])
def test_other_inputs_are_cut_again(two: Path, tmp_path: Path, change: str) -> None:
    first = cut_slides(two, tmp_path, Field(10, 1.0), 0.75)
    before = first.stat().st_ino
    field, min_cover = Field(10, 1.0), 0.75
    match change:
        case "annotation":
            geojson(tmp_path / "p" / "s.geojson", [feature("Necrosis", square(0, 0, 30, 20))])
        case "slide":
            (tmp_path / "p" / "s.svs").write_text("another")
        case "case":
            two.write_text(two.read_text().replace(",p,", ",other,"))
        case "field":
            field = Field(9, 1.0)
        case "min_cover":
            min_cover = 0.8
        case "mpp":
            lines = two.read_text().splitlines()
            two.write_text(f"{lines[0]},mpp_x,mpp_y\n{lines[1]},0.9,0.9\n{lines[2]},,\n")
        case "record":
            (first.parent / "inputs.json").write_text("[]")
    assert cut_slides(two, tmp_path, field, min_cover).stat().st_ino != before
    names = {entry.name for entry in read_table(first)}
    assert {item.name for item in first.parent.glob("*.png")} == names


def test_nothing_is_left_where_no_tile_is_covered(two: Path, tmp_path: Path) -> None:
    for folder in "pq":
        geojson(tmp_path / folder / "s.geojson", [feature("Tumor", square(0, 0, 4))])
    with pytest.raises(DatasetError, match=r"no tile of 10 px at 1 um is covered to data\.min_cover 0\.75"):
        cut_slides(two, tmp_path / "scratch", Field(10, 1.0), 0.75)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_real_slide_is_cut_to_the_crops_of_a_model(data_dir: Path, tmp_path: Path) -> None:
    crops = load_train_settings().crops.model_copy(update={"tile_px": 224, "mpp_um": 1.0})
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    geojson(
        tmp_path / "a.geojson",
        [feature("Tumor", square(0, 0, 1000, 2967)), feature("Necrosis", square(1000, 0, 1220, 2967))],
    )
    path = table(tmp_path / "slides.csv", [{"slide": slide, "case": "CMU", "annotations": "a.geojson"}])
    found = read_table(cut_slides(path, tmp_path / "scratch", Field(224, 1.0), 0.75))
    labels = {(entry.x_l0, entry.y_l0): entry.label for entry in found}
    # columns begin at 0, 448, 896 (23 % Tumor), 1344 and 1792, which overhangs
    assert labels == {
        (x, y): "viable" if x < 896 else "non_viable"
        for x in (0, 448, 896, 1344)
        for y in range(0, 2600, 448)
    }
    with openslide.OpenSlide(slide) as opened:
        level_0 = opened.read_region((448, 896), 0, (448, 448)).convert("RGB")
    chosen = next(entry for entry in found if (entry.x_l0, entry.y_l0) == (448, 896))
    assert chosen.mpp == pytest.approx(0.998)
    apart = np.abs(pixels(chosen.path).astype(int) - np.asarray(level_0.reduce(2)))
    assert apart.mean() < 0.5  # JPEG tiles are decoded at half their size
    crop = cut_crops(replace(tile("a", "A"), path=chosen.path, mpp=chosen.mpp or 0), crops)
    np.testing.assert_array_equal(crop, pixels(chosen.path)[None])


@pytest.mark.parametrize("glass", [243, 60], ids=["in glass", "dark all over"])
def test_black_that_was_not_scanned_is_white_as_in_scoring(tmp_path: Path, glass: int) -> None:
    """Tissue with black fill beside it; where nothing of the slide is bright, black is no fill."""
    rgb = np.full((1024, 1024, 3), glass, np.uint8)
    rgb[:512, :512] = (214, 150, 190) if glass > 200 else (60, 50, 60)
    rgb[:, 300:512] = 0
    write_levels(tmp_path / "a.tiff", [rgb])
    geojson(tmp_path / "a.geojson", [feature("Tumor", square(0, 0, 512))])
    row = {"slide": "a.tiff", "case": "A", "annotations": "a.geojson"}
    tiles = cut_slides(table(tmp_path / "slides.csv", [row]), tmp_path / "out", Field(256, 1.0), 0.75)
    (entry,) = read_table(tiles)
    seen = pixels(entry.path)
    assert (seen[:, 156:] == (255 if glass > 200 else 0)).all()
    assert seen[100, 100].tolist() == rgb[200, 200].tolist()
