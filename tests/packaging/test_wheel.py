"""The wheel alone, away from the checkout, gives a working command."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A wheel built from an sdist, as an index would serve them."""
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(pytestconfig.rootpath),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("*.tar.gz"))) == 1
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_code_settings_and_models(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "wsi_necrosis/pipelines/cli.py",
        "wsi_necrosis/configs/default.yaml",
        "wsi_necrosis/configs/train.yaml",
        "wsi_necrosis/configs/presets/half-stride.yaml",
        "wsi_necrosis/weights/default/model.safetensors",
        "wsi_necrosis/weights/phantom/model.json",
        "wsi_necrosis/review/sheet.html",
        "wsi_necrosis/viewer/page/index.html",
        "wsi_necrosis/viewer/page/openseadragon.min.js",
        "wsi_necrosis/py.typed",
    ):
        assert name in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"wsi_necrosis"}


def test_the_installed_wheel_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=True, symlinks=True)
    packages = next(Path(p) for p in sys.path if p.endswith("site-packages"))
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    python = home / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    # Dependencies come from the environment of the tests, behind the wheel on the path; its editable finder is not run.
    (site / "neighbours.pth").write_text(f"{packages}\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = home / "bin" / "wsi-necrosis"

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [command, *arguments], cwd="/", env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout

    assert "0.1.0" in run("--version")
    assert "stride_tiles" in run("config")
    where = "import wsi_necrosis; print(wsi_necrosis.__file__)"
    done = subprocess.run(
        [python, "-c", where], cwd="/", env=environment, check=True, capture_output=True, text=True
    )
    assert str(home) in done.stdout
    said = run("demo", "--out", tmp_path / "out")
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    for title in ("Non-tumour", "Non-viable tumour", "Viable tumour", "Percent viable"):
        assert abs(float(rows[title].rsplit(None, 2)[1])) < 1, said
    focus = next(line for line in said.splitlines() if "smaller than a tile" in line)
    assert float(focus.split("P(viable) ")[1].split()[0]) > 0.02  # the necrosis around it has far less
    assert (tmp_path / "out" / "slides" / "phantom-0.tiff" / "result.json").is_file()
    assert (tmp_path / "out" / "summary.csv").is_file()
