import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.command import as_process, in_process
from tests.helpers.models import save_model_with_ood_limit
from tests.helpers.runs import FILES
from wsi_necrosis.errors import PixelSizeError
from wsi_necrosis.slides.phantom import write_phantom

SLOW_TO_IMPORT = {
    "torch",
    "timm",
    "distributed",
    "zarr",
    "scipy",
    "numba",
    "sklearn",
    "matplotlib",
    "pyarrow",
}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from wsi_necrosis.pipelines.cli import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0;"
        "print(sorted({'torch', 'dask', 'distributed', 'tiatoolbox', 'zarr', 'radiomics', 'openslide', 'matplotlib'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run_and_list_imports(*arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command, and the packages of `SLOW_TO_IMPORT` that its process imported."""
    code = (
        "import sys; from wsi_necrosis.pipelines.cli import app; from typer.testing import CliRunner;"
        "done = CliRunner().invoke(app, sys.argv[1:]);"
        "print(*[name for name in sys.modules if '.' not in name]);"
        "sys.exit(getattr(done.exception, 'exit_code', done.exit_code))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, set(done.stdout.split()) & SLOW_TO_IMPORT


def test_bad_input_is_answered_without_slow_imports(tmp_path: Path) -> None:
    bare = tmp_path / "bare.tiff"
    tifffile.imwrite(bare, np.full((256, 256, 3), 200, np.uint8), tile=(64, 64))
    assert run_and_list_imports("run", str(tmp_path / "missing.svs")) == (1, set())
    assert run_and_list_imports("run", str(bare)) == (PixelSizeError.exit_code, set())
    assert run_and_list_imports("run", str(bare), "--set", "grid.strides=2") == (2, set())


def test_results_that_are_up_to_date_are_answered_without_slow_imports(tmp_path: Path) -> None:
    write_phantom(tmp_path / "s.tiff", side_mm=0.5)
    command = ["run", str(tmp_path / "s.tiff"), "-o", str(tmp_path / "out"), "--model", "phantom"]
    assert in_process(*command).returncode == 0
    assert run_and_list_imports(*command) == (0, set())


@pytest.mark.slow
def test_a_model_that_holds_its_network_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    write_phantom(tmp_path / "s.tiff", side_mm=0.5)
    code, found = run_and_list_imports("run", str(tmp_path / "s.tiff"), "-o", str(tmp_path / "out"))
    assert code == 0
    assert "distributed" in found
    assert found.isdisjoint({"torch", "timm"})


def test_errors_are_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = as_process("config", "--set", "grid.strides=2")
    assert done.returncode == 2
    assert (
        done.stderr == "wsi-necrosis: grid.strides is not a setting; `wsi-necrosis config` lists them all\n"
    )
    assert in_process("run").returncode == 2
    done = in_process("run", str(tmp_path / "none.svs"), "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "none.svs" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_slide_that_is_not_evaluable_is_no_error(tmp_path: Path) -> None:
    save_model_with_ood_limit(tmp_path / "model", limit=1e-6)
    write_phantom(tmp_path / "s.tiff", np.random.default_rng(5), side_mm=1.0)
    out = tmp_path / "out"
    done = in_process("run", str(tmp_path / "s.tiff"), "-o", str(out), "--model", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert re.search("percent viable +not evaluable: out of domain", done.stdout)
    assert "warning (ood_tissue): 100 % of the tissue" in done.stdout
    assert {path.name for path in (out / "slides" / "s.tiff").iterdir()} == FILES


def test_config_prints_the_settings_that_apply() -> None:
    assert "# " in in_process("config").stdout
    assert "stride_tiles: 0.5" in in_process("config", "--preset", "half-stride").stdout


@pytest.mark.parametrize(
    "command", [["train"], ["evaluate", "--tiles", "tiles"], ["models", "convert", "default"]]
)
def test_a_command_that_needs_torch_says_so_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("wsi_necrosis.model.backend.find_spec", lambda name: None)
    done = in_process(*command)
    assert done.returncode == 2
    assert "needs torch, torchvision, timm, not installed" in done.stderr
    assert "pip install 'wsi-necrosis[t" in done.stderr
