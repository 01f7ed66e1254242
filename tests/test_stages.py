"""What is done again when something about a finished slide has changed: no more than it must, and no less."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.command import in_process
from tests.helpers.models import save_model_with_ood_limit
from tests.helpers.runs import MIN_TUMOUR, PHANTOM, SMALL_PICTURES, run
from wsi_necrosis import stages
from wsi_necrosis.analysis import analyse
from wsi_necrosis.errors import ResultsDifferError
from wsi_necrosis.model.spec import model_folder
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.report.verify import verify_slide
from wsi_necrosis.scores.slide_folder import FORMATS, OVERLAY, PICTURES, REGIONS, REPORT, TILES, SlideFolder
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom


@dataclass(frozen=True)
class Redone:
    """Blocks that were scored, and whether the slide was measured and all its files exported."""

    blocks: int = 0
    measured: bool = False
    exported: bool = False


NOTHING = Redone()
# Measuring comes with every export: it takes milliseconds, and `result.json` is then of one version of the program.
MEASURED_AND_EXPORTED = Redone(measured=True, exported=True)
ONE_BLOCK = Redone(blocks=1, measured=True, exported=True)

# A change of settings (as of --set), what is done again.
SETTINGS = [
    ("", NOTHING),
    ("cluster.workers=1", NOTHING),
    ("cluster.workers=2 cluster.processes=true", NOTHING),
    ("cluster.scheduler=tcp://127.0.0.1:9", NOTHING),
    ("claims.heartbeat_s=1 claims.silence_s=9", NOTHING),
    ("quantify.max_uncertainty=0.9", MEASURED_AND_EXPORTED),
    ("quantify.max_ood=2", MEASURED_AND_EXPORTED),
    ("quantify.not_evaluable_top_prob=0.99", MEASURED_AND_EXPORTED),
    ("quantify.estimator=soft", MEASURED_AND_EXPORTED),
    ("quantify.seed=1", MEASURED_AND_EXPORTED),
    ("quantify.policy=tumour_bed quantify.min_focus_mm2=0.1", MEASURED_AND_EXPORTED),
    ("quantify.bootstrap_draws=100", MEASURED_AND_EXPORTED),
    ("export.overlay_opacity=0.9", MEASURED_AND_EXPORTED),
    ("export.overlay_px=128", MEASURED_AND_EXPORTED),
]

# A change of settings, the input that the refusal names; with --overwrite every block is scored again.
REFUSED = [
    ("grid.stride_tiles=0.5", "grid.stride_tiles: 1.0 -> 0.5"),
    ("grid.block_cells=5", "grid.block_cells: 8 -> 5"),
    ("tissue.min_piece_um2=900", "tissue.min_piece_um2: 300.0 -> 900.0"),
    ("model.batch_tiles=7", "backend.batch_tiles: 4 -> 7"),
    ("radiomics.engine=reference", "radiomics.engine: compiled -> reference"),
]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "phantom.tiff"
    write_phantom(path, np.random.default_rng(7), side_mm=1.0)
    return path


@pytest.fixture(scope="module")
def finished(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(slide, tmp_path_factory.mktemp("finished") / "slide").folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Results to spend, with the times of the finished ones."""
    return Path(shutil.copytree(finished, tmp_path / "slide"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """An entry for each time that a slide is measured."""
    calls, measure = list[object](), stages.measure
    monkeypatch.setattr(stages, "measure", lambda *given: calls.append(given) or measure(*given))
    return calls


def times(folder: Path) -> dict[str, int]:
    """When each file was written, but the log."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "log.txt")
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def redone(folder: Path, before: dict[str, int], measured: list[object]) -> Redone:
    """What was done since, by the times of the files and the calls of `measure`."""
    after = times(folder)
    written = {name for name, time in after.items() if before.get(name) != time}
    usual = {name for each in load_settings().export.formats for name in FORMATS[each]} - {PICTURES}  # kept
    exported = {name for name in usual if any(each.split("/")[0] == name for each in written)}
    assert exported in (set(), usual)
    assert bool(written) == bool(measured)
    return Redone(sum(name.startswith("blocks/") for name in written), bool(measured), exported == usual)


@pytest.mark.parametrize(("change", "expected"), SETTINGS)
def test_a_setting_redoes_what_depends_on_it(
    slide: Path, folder: Path, measured: list[object], change: str, expected: Redone
) -> None:
    before = times(folder)
    run(slide, folder, *change.split())
    assert redone(folder, before, measured) == expected
    assert list(verify_slide(folder)) == []


@pytest.mark.parametrize(("change", "named"), REFUSED)
def test_a_setting_of_the_scores_is_refused(slide: Path, folder: Path, change: str, named: str) -> None:
    before = times(folder)
    with pytest.raises(ResultsDifferError) as refused:
        run(slide, folder, *change.split())
    assert named in str(refused.value)
    assert "--overwrite" in str(refused.value)
    assert times(folder) == before


def other_pixel_size(slide: Path, folder: Path, overwrite: bool) -> SlideReport:
    settings = load_settings(overrides=PHANTOM)
    return analyse(slide, folder, settings, mpp=0.51, overwrite=overwrite)


def other_model(slide: Path, folder: Path, overwrite: bool) -> SlideReport:
    save_model_with_ood_limit(folder.parent / "model", 5.0)
    return run(slide, folder, f"model.name={folder.parent / 'model'}", overwrite=overwrite)


def other_slide(slide: Path, folder: Path, overwrite: bool) -> SlideReport:
    other = folder.parent / slide.name
    write_phantom(other, np.random.default_rng(8), side_mm=1.0)
    return run(other, folder, overwrite=overwrite)


def outlined(slide: Path, folder: Path, overwrite: bool) -> SlideReport:
    settings = load_settings(overrides=["model.name=phantom", MIN_TUMOUR])
    roi = geojson(folder.parent / "roi.geojson", [feature(None, square(0, 0, 1000, 900))])
    return analyse(slide, folder, settings, overwrite=overwrite, roi=roi)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (outlined, "regions: None -> {'roi': "),
        (other_pixel_size, "slide.mpp_x: 0.5 -> 0.51"),
        (other_model, "model.fingerprint: "),
        (other_slide, "another slide of this name"),
    ],
)
def test_another_pixel_size_model_or_slide_is_refused_and_overwrite_scores_all_blocks(
    slide: Path, folder: Path, measured: list[object],
    change: Callable[[Path, Path, bool], SlideReport], named: str,
) -> None:  # fmt: skip
    before = times(folder)
    with pytest.raises(ResultsDifferError, match=named):
        change(slide, folder, False)
    assert times(folder) == before
    change(slide, folder, True)
    blocks = len(list((folder / "blocks").iterdir()))
    assert blocks > 1
    assert redone(folder, before, measured) == Redone(blocks, measured=True, exported=True)


def test_what_is_known_of_a_models_sums_is_measured_again(
    slide: Path, folder: Path, measured: list[object]
) -> None:
    """The same weights; `quantity` in `model.json` says how their scores are added up."""
    model = Path(shutil.copytree(model_folder("phantom"), folder.parent / "model"))
    tree = json.loads((model / "model.json").read_text())
    figures = {"rmse": 24.0, "slope": 0.6, "intercept": 20.0}
    tree["quantity"] = {"estimator": "soft", "soft": figures, "hard": figures}
    (model / "model.json").write_text(json.dumps(tree))
    before = times(folder)
    run(slide, folder, f"model.name={model}")
    assert redone(folder, before, measured) == MEASURED_AND_EXPORTED


def delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def truncate(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-10])


def alter(name: str) -> Callable[[Path], None]:
    """Another content of the same size."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (folder / name).write_bytes(content)

    return change


def damage_a_block(folder: Path) -> None:
    truncate(next(path.relative_to(folder).as_posix() for path in chunks(folder)))(folder)


def delete_a_record(folder: Path) -> None:
    next((folder / "blocks").iterdir()).unlink()


def chunks(folder: Path) -> Iterator[Path]:
    return (path for path in sorted((folder / "scores.zarr" / "prob" / "c").rglob("*")) if path.is_file())


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(delete(TILES), MEASURED_AND_EXPORTED, id="an export is deleted"),
        pytest.param(truncate(REGIONS), MEASURED_AND_EXPORTED, id="an export is truncated"),
        pytest.param(alter(OVERLAY), MEASURED_AND_EXPORTED, id="an export is altered"),
        pytest.param(delete("result.json"), MEASURED_AND_EXPORTED, id="the result is deleted"),
        pytest.param(truncate("result.json"), MEASURED_AND_EXPORTED, id="the result is truncated"),
        pytest.param(delete("hashes.json"), MEASURED_AND_EXPORTED, id="the list of files is deleted"),
        pytest.param(damage_a_block, ONE_BLOCK, id="scores of a block are truncated"),
        pytest.param(delete_a_record, ONE_BLOCK, id="the record of a block is deleted"),
    ],
)
def test_damage_is_mended_and_nothing_else_is_scored(
    slide: Path, finished: Path, folder: Path, measured: list[object],
    damage: Callable[[Path], None], expected: Redone,
) -> None:  # fmt: skip
    before = times(folder)
    damage(folder)
    assert run(slide, folder).result == SlideFolder(finished).result()
    assert redone(folder, before, measured) == expected
    assert list(verify_slide(folder)) == []


def test_an_overlay_of_another_look_changes_that_picture_and_the_report_alone(
    slide: Path, finished: Path, folder: Path
) -> None:
    """Every file is written anew, with the bytes that it had."""
    run(slide, folder, "export.overlay_opacity=0.9")
    kept = {"hashes.json", "perf.json", "result.json"}  # these name the settings and the times
    changed = {
        name.split("/")[0]
        for name in times(finished)
        if (finished / name).read_bytes() != (folder / name).read_bytes()
    }
    assert changed - kept == {OVERLAY, REPORT}
    one, other = (SlideFolder(each).result() for each in (finished, folder))
    for name in ("fingerprints", "settings"):
        assert one["provenance"].pop(name) != other["provenance"].pop(name)
    assert one == other


@pytest.mark.parametrize("options", [["--quiet"], ["--json"], ["--workers", "1", "--json"]])
def test_options_of_the_screen_redo_nothing(
    slide: Path, finished: Path, tmp_path: Path, measured: list[object], options: list[str]
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "slides" / slide.name))
    before = times(folder)
    command = [
        "run",
        str(slide),
        "-o",
        str(tmp_path),
        "--model",
        "phantom",
        "--set",
        MIN_TUMOUR,
        "--set",
        SMALL_PICTURES,
        *options,
    ]
    assert in_process(*command).returncode == 0
    assert redone(folder, before, measured) == NOTHING
