import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.helpers.command import as_process, in_process
from tests.helpers.models import save_model_with_ood_limit
from tests.helpers.runs import FILES
from wsi_necrosis.slides.phantom import write_phantom


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from wsi_necrosis.pipelines.cli import app; from typer.testing import CliRunner;"
        "assert CliRunner().invoke(app, ['run', '--help']).exit_code == 0;"
        "print(sorted({'torch', 'dask', 'distributed', 'tiatoolbox', 'zarr', 'radiomics', 'openslide', 'matplotlib'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
    assert "percent viable    not evaluable: out of domain" in done.stdout
    assert "note: 100 % of the tissue" in done.stdout
    assert {path.name for path in (out / "slides" / "s.tiff").iterdir()} == FILES


def test_config_prints_the_settings_that_apply() -> None:
    assert "# " in in_process("config").stdout
    assert "stride_tiles: 0.5" in in_process("config", "--preset", "half-stride").stdout
