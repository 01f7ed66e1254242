"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os

# Tests run beside one another, one process for each core; threads of torch that outnumber the cores wait by spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for processes that tests start

import logging
from collections.abc import Generator, Iterator
from pathlib import Path

import distributed
import numpy as np
import pytest
from hypothesis import settings

from tests.helpers.made_once import made_once, shared_base
from tests.helpers.painted_tiles import CASES, CONFIG, paint
from tests.helpers.runs import SMALL_PICTURES
from wsi_necrosis.analysis import analyse
from wsi_necrosis.cache import VARIABLE
from wsi_necrosis.inference.job import Job
from wsi_necrosis.model.loading import choose_backend
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.training.build import train

# No deadline: machines are shared, and a slow one is no failure.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

# While a cluster runs, Dask silences the handlers of these loggers, which may be pytest's; so they get none of their
# own, and messages go up to the root logger.
for name in (distributed.__name__, "bokeh"):
    logging.getLogger(name).handlers.clear()
    logging.getLogger(name).propagate = True

ROOT = Path(__file__).resolve().parents[1]

# The slowest files, which are begun first: begun last, one would keep one process busy while others wait.
SLOWEST = (
    "test_analysis.py", "pipelines/evaluation/test_compare.py", "training/test_build.py", "pipelines/test_run.py",
    "training/test_fit.py", "inference/test_dispatch.py", "inference/test_pool.py", "packaging/test_wheel.py",
    "model/test_loading.py", "training/test_leave_case_out.py", "pipelines/evaluation/test_plots.py",
    "pipelines/evaluation/test_evaluate.py",
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this test run, also for all processes that it starts, instead of the user's."""
    folder = shared_base(tmp_path_factory) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real slides and tiles; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("WSI_NECROSIS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tcia_os" / "labels.csv").is_file():
        pytest.skip(f"no data folder at {folder}; set WSI_NECROSIS_DATA")
    return folder


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job on a finished store, so that any of its blocks can be scored again."""
    folder = tmp_path_factory.mktemp("cluster")
    slide = folder / "slide.tiff"
    write_phantom(slide, np.random.default_rng(0), side_mm=0.8)
    small = ("model.batch_tiles=16", "grid.block_cells=4", "cluster.workers=1", SMALL_PICTURES)
    settings = load_settings(overrides=["model.name=phantom", *small])
    analyse(slide, folder / "out", settings)
    with open_slide(slide) as opened:
        info = opened.info
    store = ScoreStore(folder / "out")
    return Job(
        slide=slide,
        mpp=info.known_mpp,
        reader=info.reader,
        fingerprint=slide_fingerprint([slide]),
        model="phantom",
        model_fingerprint=load_spec("phantom").fingerprint,
        backend=choose_backend(settings.model),
        grid=store.grid,
        batch_tiles=settings.model.batch_tiles,
        folder=folder / "out",
    )


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 tiles of three cases; case C has no tumour."""
    return paint(tmp_path_factory.mktemp("painted"), CASES, 5)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings file of a tiny model; `data.tiles` is an environment variable."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(painted: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the tiny model."""

    def make(folder: Path) -> None:
        train(config, folder / "model", [f"data.tiles={painted}"])

    return made_once(tmp_path_factory, "trained", make) / "model"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask for the data folder are `real`; slow files come first."""
    places = {}
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("real")
        name = item.path.relative_to(ROOT / "tests").as_posix()
        places[item] = SLOWEST.index(name) if name in SLOWEST else len(SLOWEST)
    items.sort(key=places.__getitem__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran on real data."""
    ran = _ran_real(terminalreporter)
    terminalreporter.write_line(f"tests on real data: {ran} ran")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where real data are required and no test ran on them."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("WSI_NECROSIS_REQUIRE_REAL") and reporter is not None and not _ran_real(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _ran_real(reporter: pytest.TerminalReporter) -> int:
    reports = [report for kind in ("passed", "failed") for report in reporter.stats.get(kind, [])]
    return sum("real" in report.keywords for report in reports)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Captured text that names a file of any bytes, in a form that pytest-xdist can send."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report
