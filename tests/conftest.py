"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: machines are shared, and a slow one is no failure.
settings.register_profile("suite", deadline=None, max_examples=50)
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real slides and tiles; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("WSI_NECROSIS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tcia_os" / "labels.csv").is_file():
        pytest.skip(f"no data folder at {folder}; set WSI_NECROSIS_DATA")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test that asks for the data folder is `real`."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests met real data."""
    ran = _ran_real(terminalreporter)
    terminalreporter.write_line(f"tests on real data: {ran} ran")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where real data are required and no test met them."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("WSI_NECROSIS_REQUIRE_REAL") and reporter is not None and not _ran_real(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _ran_real(reporter: pytest.TerminalReporter) -> int:
    reports = [report for kind in ("passed", "failed") for report in reporter.stats.get(kind, [])]
    return sum("real" in report.keywords for report in reports)
