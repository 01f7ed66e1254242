import ast
import doctest
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import wsi_necrosis
from wsi_necrosis.errors import SettingsError, UsageError
from wsi_necrosis.geometry import Mpp

STUB = Path(wsi_necrosis.__file__).with_suffix(".pyi")
NOTEBOOK = """
import wsi_necrosis as wn
truth = wn.write_phantom("slide.tiff", side_mm=1.5)
with wn.open_slide("slide.tiff") as slide:
    print(slide.dimensions, slide.mpp, slide.thumbnail(64).shape)
settings = wn.load_settings(overrides=["model.name=phantom", "quantify.min_tumour_mm2=0.05"])
report = wn.analyse("slide.tiff", "out", settings)
print(round(report.percent_viable), round(truth.percent_viable), report.heatmap().label.shape)
again = wn.open_results("out", settings)
same = again.percent_viable == report.percent_viable
print(same, again.scores().prob.shape)
"""


def test_every_public_name_is_there() -> None:
    for name in wsi_necrosis.__all__:
        assert getattr(wsi_necrosis, name).__name__ == name
        assert name in dir(wsi_necrosis)


def test_editors_see_the_names_that_are_there() -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    named = [node for node in tree.body if isinstance(node, ast.Assign)]
    assert sorted(ast.literal_eval(named[0].value)) == sorted(wsi_necrosis.__all__)


def test_other_names_raise_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        wsi_necrosis.nothing  # noqa: B018  # the access is what is tested


def test_the_version_is_that_of_the_package() -> None:
    assert wsi_necrosis.__version__ == version("wsi-necrosis")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, wsi_necrosis; print([m for m in sys.modules if m.startswith('wsi_necrosis.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(wsi_necrosis.__all__))
def test_every_public_name_has_an_example_that_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    public = getattr(wsi_necrosis, name)
    module = sys.modules[public.__module__]
    (example,) = doctest.DocTestFinder(recurse=False).find(public, name, module, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_numbers_and_strings_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert wsi_necrosis.write_phantom("slide.tiff", side_mm=0.25, mpp=0.5).size_l0 == (500, 500)
    with wsi_necrosis.open_slide("slide.tiff", np.float32(0.25)) as slide:
        assert slide.mpp == Mpp(0.25, 0.25)
        for px in (0, -5):
            with pytest.raises(UsageError, match=r"thumbnail of .* px"):
                slide.thumbnail(px)
            with pytest.raises(UsageError, match=r"pixels of .* um"):
                wsi_necrosis.read_overview(slide, px)
    request = wsi_necrosis.Request("slide.tiff", "out", mpp=1)
    assert request == wsi_necrosis.Request(Path("slide.tiff"), Path("out"), mpp=Mpp(1.0, 1.0))
    assert request.name == "slide.tiff"
    with pytest.raises(SettingsError, match="not the one string"):
        wsi_necrosis.load_settings(overrides="model.name=phantom")


def test_a_notebook_of_ten_lines(tmp_path: Path) -> None:
    """From an empty folder, with strings alone."""
    assert len(NOTEBOOK.strip().splitlines()) == 10
    command = [sys.executable, "-c", NOTEBOOK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    said = done.stdout.splitlines()
    assert said[0] == "(3000, 3000) 0.5 (64, 64, 3)"
    found, painted, *_ = said[1].split()
    assert abs(int(found) - int(painted)) <= 3
    assert said[2].startswith("True (")
