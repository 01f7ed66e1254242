"""Real slides, and models of every kind, through `pipelines.run.run`."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr
from PIL import Image

from tests.helpers.command import in_process
from tests.helpers.models import save_model_with_ood_limit, save_random_model
from tests.helpers.regions import areas_of
from tests.helpers.runs import FILES, SMALL_PICTURES, WAYS, trees_equal
from wsi_necrosis.errors import PixelSizeError, SlideError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.names import safe_name
from wsi_necrosis.pipelines import run as running
from wsi_necrosis.pipelines.console.printout import as_json, describe
from wsi_necrosis.pipelines.run import Options, dry_run, run
from wsi_necrosis.report.verify import verify_slide
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom


def measure(slide: Path, out: Path, *overrides: str, mpp: Mpp | None = None) -> dict[str, Any]:
    report = run(slide, out, load_settings(overrides=overrides), QuietWatcher(), Options(mpp))
    assert describe(report).startswith(slide.name)
    assert '"percent_viable"' in as_json(report)
    return dict(report.result)


def montage(data_dir: Path, path: Path, *options: str) -> Path:
    tool = data_dir.parent / "tools" / "montage.py"
    if not tool.is_file():
        pytest.skip(f"no {tool}")
    command = [sys.executable, str(tool), "--tiles", str(data_dir / "tcia_os"), "--out", str(path), *options]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_outlines_of_the_command_reach_the_analysis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def analyse(*_: object, **options: object) -> None:
        asked.update(options)
        raise SlideError("enough")

    monkeypatch.setattr(running, "analyse", analyse)
    arguments = [
        "run",
        str(tmp_path / "a.svs"),
        "-o",
        str(tmp_path),
        "--roi",
        "r.geojson",
        "--tissue",
        "t.geojson",
    ]
    assert in_process(*arguments).stderr.endswith("enough\n")
    assert (asked["roi"], asked["tissue"]) == (Path("r.geojson"), Path("t.geojson"))


def test_a_real_slide_ends_with_every_file(data_dir: Path, tmp_path: Path) -> None:
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    result = measure(slide, tmp_path)
    folder = tmp_path / "slides" / slide.name
    assert {path.name for path in folder.iterdir()} == FILES
    assert (tmp_path / "summary.csv").is_file()
    assert result["status"] in {"scored", "not_evaluable"}
    assert "research demonstration" in result["warnings"][0]["text"]
    for name in ("overlay.png", "thumbnail.png"):
        assert Image.open(folder / name).convert("L").getextrema()[0] < 100
    assert "scoring 28 tiles" in (folder / "log.txt").read_text()


MONTAGES = {
    "square": ("--cells", "5"),
    "oblong pixels": ("--cells", "5", "--vendor", "generic", "--mpp", "0.5", "0.25"),
    "shifted": ("--cells", "6", "--clusters", "2.5", "--offset", "300"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MONTAGES)
def test_areas_measured_on_regions_are_those_of_the_ledger(data_dir: Path, tmp_path: Path, kind: str) -> None:
    slide = montage(data_dir, tmp_path / "m.tiff", *MONTAGES[kind])
    result = measure(slide, tmp_path / "out", "model.name=fast", "quantify.max_uncertainty=0.8")
    found, ledger = areas_of(tmp_path / "out" / "slides" / "m.tiff", result)
    assert found == pytest.approx(ledger, rel=0.01)
    assert min(ledger[term] for term in ledger if term != "unreadable") > 0


@pytest.mark.slow
def test_a_montage_gives_a_percentage_and_its_geometry(data_dir: Path, tmp_path: Path) -> None:
    slide = montage(
        data_dir, tmp_path / "m.tiff", "--cells", "8", "--vendor", "generic", "--mpp", "0.5", "0.25"
    )
    result = measure(slide, tmp_path / "out")
    assert result["status"] == "scored"
    assert 0 <= result["percent_viable"] <= 100
    ledger = result["ledger"]
    plane_mm2 = (8 * 1024 * 0.5 / 1e3) * (8 * 1024 * 0.25 / 1e3)
    assert ledger["total_px"] * ledger["pixel_mm2"] == pytest.approx(plane_mm2, rel=1e-6)
    tissue = sum(ledger["mm2"][f"{name}_by_class"] for name in ("non_tumour", "non_viable", "viable"))
    painted = 45 * 1024**2 * 0.5 * 0.25 / 1e6  # 45 of the 64 lattice cells lie inside the ellipse
    assert tissue <= painted * 1.01
    assert tissue >= painted * 0.7  # holes of marrow fat and cracks are glass


def test_a_slide_without_pixel_size_asks_for_it(data_dir: Path, tmp_path: Path) -> None:
    slide = data_dir / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(PixelSizeError, match="--mpp"):
        measure(slide, tmp_path / "out", "model.name=phantom")
    assert not (tmp_path / "out").exists()
    result = measure(slide, tmp_path / "out", "model.name=phantom", mpp=Mpp(0.5, 0.5))
    assert result["provenance"]["slide"]["mpp_source"] == "--mpp"
    assert result["status"] == "scored"


@pytest.mark.parametrize("name", ["broken.svs", "osp_unopenable.tiff", "osp_unreadable.svs", "missing.svs"])
def test_broken_slides_say_why_and_leave_nothing(data_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SlideError, match=name):
        measure(data_dir / "slides" / "negative" / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_absurd_pixel_size_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PixelSizeError, match=r"352.*--mpp"):
        measure(data_dir / "slides" / "openslide_boxes.tiff", tmp_path / "out")


def test_a_slide_of_sixteen_pixels_is_not_evaluable(data_dir: Path, tmp_path: Path) -> None:
    result = measure(data_dir / "slides" / "openslide_small.svs", tmp_path)
    assert (result["status"], result["reason"]) == ("not_evaluable", "no_tissue")


def test_a_blank_slide_is_not_evaluable(tmp_path: Path) -> None:
    slide = tmp_path / "blank.tiff"
    glass = np.full((2048, 2048, 3), 243, np.uint8)
    tifffile.imwrite(
        slide, glass, photometric="rgb", tile=(256, 256), compression="jpeg", resolution=(20000, 20000),
        resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    result = measure(slide, tmp_path / "out")
    assert (result["status"], result["reason"], result["n_tiles"]) == ("not_evaluable", "no_tissue", 0)


def test_dry_run_writes_nothing(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = dry_run(data_dir / "slides" / "CMU-1-Small-Region.svs", load_settings())
    assert "tiles to score  28" in said
    assert list(tmp_path.iterdir()) == []


SMALL = (
    "quantify.min_tumour_mm2=0.01",
    "grid.block_cells=16",
    "quantify.not_evaluable_top_prob=0",
    "quantify.estimator=soft",
    SMALL_PICTURES,
)  # random models guess


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom of one square millimetre."""
    path = tmp_path_factory.mktemp("small") / "small.tiff"
    write_phantom(path, np.random.default_rng(5), side_mm=1.0)
    return path


def consistent(folder: Path, result: dict[str, Any]) -> bool:
    """Whether the result is what the table of tiles adds up to."""
    table = pq.read_table(folder / "tiles.parquet").to_pydict()
    tissue, ledger = np.array(table["tissue_mm2"]), result["ledger"]
    viable, non_viable = (
        (tissue * np.array(table[f"prob_{name}"])).sum() for name in ("ViableTumor", "NonViableTumor")
    )
    assert len(tissue) == result["n_tiles"] > 0
    assert sum(ledger["px"].values()) == ledger["total_px"]
    found = ledger["mm2"]["viable_soft"], ledger["mm2"]["non_viable_soft"]
    assert found == pytest.approx((viable, non_viable), rel=1e-5)  # nothing abstains
    assert (result["viable_mm2"], result["tumour_mm2"]) == pytest.approx((found[0], sum(found)))
    if (
        ledger["px"]["viable_by_class"] + ledger["px"]["non_viable_by_class"] == 0
    ):  # random weights may class all cells as one
        assert result["reason"] in {"too_little_tumour", "no_tumour"}
        return True
    percent = 100 * viable / (viable + non_viable)
    assert result["percent_viable"] == pytest.approx(percent, rel=1e-5)
    assert list(result["percent_viable_if_abstained"].values()) == pytest.approx([percent] * 2, rel=1e-5)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "radiomics", "ensemble", "macenko"])
def test_models_of_every_kind_give_the_same_everywhere(small: Path, tmp_path: Path, kind: str) -> None:
    spec = save_random_model(tmp_path / "model", kind)
    model = f"model.name={tmp_path / 'model'}"
    ways = [["cluster.workers=1"], *(WAYS if kind == "ensemble" else WAYS[:1])]  # one kind also by processes
    outs = [tmp_path / str(at) for at in range(len(ways))]
    results = [measure(small, out, model, *SMALL, *how) for out, how in zip(outs, ways, strict=True)]
    folders = [out / "slides" / small.name for out in outs]
    for folder, result in zip(folders, results, strict=True):
        assert {path.name for path in folder.iterdir()} == FILES
        assert trees_equal(folder / "scores.zarr", folders[0] / "scores.zarr")
        assert trees_equal(folder / "blocks", folders[0] / "blocks")
        assert result == results[0]
    assert consistent(folders[0], results[0])
    radiomics = zarr.open_array(folders[0] / "scores.zarr" / "radiomics", mode="r")
    assert radiomics.shape[2] == len(spec.recipe.names)
    again = measure(small, outs[0], model, *SMALL)  # the store is found whole
    assert again == results[0]


@pytest.mark.parametrize("kind", ["image", "concat"])  # without features, and without weights of branches
def test_an_interrupted_run_resumes(small: Path, tmp_path: Path, kind: str) -> None:
    save_random_model(tmp_path / "model", kind)
    model, folder = f"model.name={tmp_path / 'model'}", tmp_path / "out" / "slides" / small.name
    first = measure(small, tmp_path / "out", model, *SMALL)
    next((folder / "blocks").iterdir()).unlink()
    (folder / "result.json").unlink()
    assert measure(small, tmp_path / "out", model, *SMALL) == first
    perf = json.loads((folder / "perf.json").read_text())
    assert 0 < perf["tiles"] < first["n_tiles"]


def test_stains_are_normalised_where_the_model_asks(small: Path, tmp_path: Path) -> None:
    stores = []
    for kind in ("gate", "macenko"):
        save_random_model(tmp_path / kind, kind)
        measure(small, tmp_path / f"of-{kind}", f"model.name={tmp_path / kind}", *SMALL)
        folder = tmp_path / f"of-{kind}" / "slides" / small.name
        stores.append(zarr.open_array(folder / "scores.zarr" / "radiomics", mode="r")[:])
        said = 'normaliser of the slide\'s stains: {"method": "macenko"' in (folder / "log.txt").read_text()
        assert said == (kind == "macenko")
        stages = json.loads((folder / "perf.json").read_text())["worker_seconds"]
        assert ("normalise" in stages) == (kind == "macenko")
    assert (np.isfinite(stores[0]) == np.isfinite(stores[1])).all()
    assert not np.allclose(*stores, equal_nan=True)


def test_a_slide_unlike_all_training_tiles_is_out_of_domain(small: Path, tmp_path: Path) -> None:
    save_model_with_ood_limit(tmp_path / "model", limit=1e-6)
    model = f"model.name={tmp_path / 'model'}"
    result = measure(small, tmp_path / "out", model, *SMALL)
    folder = tmp_path / "out" / "slides" / small.name
    assert {path.name for path in folder.iterdir()} == FILES
    assert (result["status"], result["reason"]) == ("not_evaluable", "out_of_domain")
    assert result["percent_viable"] is None
    assert result["tumour_mm2"] == result["viable_mm2"] == 0
    mm2 = result["ledger"]["mm2"]
    assert mm2["abstained"] == result["ood_mm2"] > 0
    assert mm2["viable_by_class"] == mm2["non_viable_by_class"] == mm2["non_tumour_by_class"] == 0
    said = {each["code"]: each["text"] for each in result["warnings"]}
    assert said["ood_tissue"].startswith("100 % of the tissue")
    regions = json.loads((folder / "regions.geojson").read_text())["features"]
    assert {region["properties"]["classification"]["name"] for region in regions} == {"Ignore*"}
    assert (ScoreStore(folder).read().prob[ScoreStore(folder).read().state == 2] >= 0).all()
    assert min(v for v in pq.read_table(folder / "tiles.parquet")["ood"].to_pylist()) > 1
    assert "not_evaluable,out_of_domain" in (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8-sig")


def test_a_limit_that_nothing_exceeds_changes_nothing(small: Path, tmp_path: Path) -> None:
    save_model_with_ood_limit(tmp_path / "model", limit=5.0)
    found = measure(small, tmp_path / "limited", f"model.name={tmp_path / 'model'}", *SMALL)
    plain = measure(small, tmp_path / "plain", "model.name=phantom", *SMALL)
    assert {name for name in found if found[name] != plain[name]} == {"provenance", "warnings"}
    codes = [{each["code"] for each in result["warnings"]} for result in (plain, found)]
    assert codes[0] - codes[1] == {"ood_not_recognised"}
    ood = ScoreStore(tmp_path / "limited" / "slides" / small.name).read().ood
    assert 0 < np.nanmin(ood) <= np.nanmax(ood) < 1


@pytest.mark.parametrize("name", [b"a\xff.tiff", b"=1+1.tiff", b"n" * 249 + b".tiff", b"two\nlines.tiff"])
def test_a_slide_of_any_name_is_measured_and_found_again(tmp_path: Path, name: bytes) -> None:
    slide = tmp_path / os.fsdecode(name)
    write_phantom(tmp_path / "p.tiff", side_mm=0.25)
    (tmp_path / "p.tiff").rename(slide)
    result = run(
        slide, tmp_path / "out", load_settings(overrides=["model.name=phantom"]), QuietWatcher()
    ).result
    assert result["slide_id"] == safe_name(slide.name)
    text = (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8-sig")
    (row,) = csv.DictReader(text.splitlines())
    assert row["slide_id"].removeprefix("'") == result["slide_id"]
    assert not row["slide_id"].startswith("=")
    folder = tmp_path / "out" / "slides" / result["slide_id"]
    assert list(verify_slide(folder, full=True)) == []
    assert set(pq.read_table(folder / "tiles.parquet")["slide_id"].to_pylist()) == {result["slide_id"]}
