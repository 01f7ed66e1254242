"""Each module has a test file of the same path; a few modules are tested in the files of their callers."""

from pathlib import Path

import pytest

# Kernels of the families of features, tested through `extract`.
KERNELS = ("compiled", "cooccurrence", "neighbours", "reference", "runs", "sizes", "tile", "zones")
WITH_THEIR_CALLERS = {
    **{f"wsi_necrosis/radiomics/{name}.py": "radiomics/test_extraction.py" for name in KERNELS},
    # Statistics of outlines, which only nuclei have.
    "wsi_necrosis/radiomics/nuclei_statistics.py": "radiomics/test_nuclei.py",
    # Positions of the parts of the overlay.
    "wsi_necrosis/export/layout.py": "export/test_overlay.py",
    # The content of `result.json`, tested on results of runs.
    "wsi_necrosis/export/result_json.py": "test_analysis.py",
    # Callbacks of a run, tested in runs.
    "wsi_necrosis/inference/watcher.py": "test_analysis.py",
    # Offsets of compressed tiles, tested by the pixels that the reader gives.
    "wsi_necrosis/slides/jpeg_index.py": "slides/test_jpeg_tiff_reader.py",
    # What readers give, and pictures that tiatoolbox opens, tested through the readers.
    "wsi_necrosis/slides/stored_levels.py": "slides/test_pyramid.py",
    "wsi_necrosis/slides/tiatoolbox_pictures.py": "slides/test_tiatoolbox_reader.py",
    # Levels of a TIFF, tested by the pixels that the reader gives.
    "wsi_necrosis/slides/tifffile_levels.py": "slides/test_tifffile_reader.py",
    # Parts of a fit, tested by its weights and its resumption.
    "wsi_necrosis/training/batches.py": "training/test_fit.py",
    "wsi_necrosis/training/fit_state.py": "training/test_fit.py",
    # The sheet of all plots, and the words of the model card.
    "pipelines/canvas.py": "pipelines/evaluation/test_plots.py",
    "pipelines/evaluation/card_text.py": "pipelines/evaluation/test_model_card.py",
    # Ranges and checks of a slide, and why it has no percentage, tested by what is said of slides.
    "wsi_necrosis/model/quality.py": "quantify/test_quality.py",
    "wsi_necrosis/tiling/density.py": "quantify/test_quality.py",
    "wsi_necrosis/quantify/evaluable.py": "quantify/test_percentage.py",
    "wsi_necrosis/tiling/focus.py": "tiling/test_quality.py",
    # Commands, tested as such.
    "pipelines/model_commands.py": "pipelines/test_cli.py",
    "pipelines/result_commands.py": "pipelines/test_review.py",
    # A comparison and the command that prints it.
    "pipelines/evaluation/truth.py": "report/test_against_outlines.py",
    # Tables of cases, tested by what the command writes and prints.
    "wsi_necrosis/export/cases.py": "pipelines/test_case.py",
    "pipelines/console/case_table.py": "pipelines/test_case.py",
    # Text that commands print, tested through the commands.
    "pipelines/config.py": "pipelines/test_cli.py",
    "pipelines/console/printout.py": "pipelines/test_run.py",
}
TESTS = Path(__file__).parent
MODULES = sorted(
    path.relative_to(TESTS.parent)
    for package in ("wsi_necrosis", "pipelines")
    for path in (TESTS.parent / package).rglob("*.py")
    if path.name != "__init__.py"
)


def mirrored(module: Path) -> Path:
    """Test file of a module: the library's lie straight under `tests`, those of the pipelines in a folder."""
    inside = module.relative_to("wsi_necrosis") if module.parts[0] == "wsi_necrosis" else module
    return TESTS / inside.parent / f"test_{inside.name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_its_test_file(module: Path) -> None:
    elsewhere = WITH_THEIR_CALLERS.get(module.as_posix())
    assert (TESTS / elsewhere if elsewhere else mirrored(module)).is_file()


@pytest.mark.parametrize("name", WITH_THEIR_CALLERS)
def test_the_list_of_exceptions_holds_no_more_than_it_must(name: str) -> None:
    assert Path(name) in MODULES
    assert not mirrored(Path(name)).exists()
