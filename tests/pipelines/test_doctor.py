import importlib.util
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tests.helpers.command import in_process
from wsi_necrosis.pipelines import doctor
from wsi_necrosis.pipelines.doctor import CHECKS, FAIL, PASS, WARN, Finding

Usage = namedtuple("Usage", "total used free")


def test_each_component_has_a_line(tmp_path: Path) -> None:
    done = in_process("doctor", "-o", str(tmp_path))
    first = [line.split()[1] for line in done.stdout.splitlines() if line[:4] in {PASS, WARN, FAIL}]
    assert first == list(CHECKS)
    assert done.returncode == int("FAIL" in done.stdout)


@pytest.mark.parametrize(("status", "code"), [(PASS, 0), (WARN, 0), (FAIL, 1)])
def test_only_a_failure_ends_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"disk": lambda out: Finding(status, "so it is", "mend it")})
    said, found = doctor.doctor(tmp_path)
    assert found == code
    assert said.startswith(f"{status}  disk")
    assert said.splitlines()[1].strip() == "mend it"


def test_a_check_that_breaks_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", {"torch": lambda out: 1 / 0})
    said, code = doctor.doctor(tmp_path)
    assert code == 1
    assert said.startswith("FAIL  torch        ZeroDivisionError")


def test_a_missing_extra_is_a_warning_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None)
    found = doctor.check_tiatoolbox(tmp_path)
    assert (found.status, found.remedy) == (WARN, "pip install 'wsi-necrosis[tiatoolbox]'")
    found = doctor.check_openvino(tmp_path)
    assert (found.status, found.remedy) == (WARN, "pip install openvino")


@pytest.mark.parametrize(
    ("openvino", "driver", "status"), [(True, True, WARN), (True, False, PASS), (False, False, FAIL)]
)
def test_without_torch_only_openvino_runs_a_model_and_a_gpu_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openvino: bool, driver: bool, status: str
) -> None:
    monkeypatch.setattr("wsi_necrosis.model.backend.has_driver", lambda: driver)
    monkeypatch.setattr("wsi_necrosis.model.backend.find_spec", lambda wanted: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: openvino or None)
    found = doctor.check_torch(tmp_path)
    assert found.status == status
    assert found.remedy == ("" if status == PASS else "pip install 'wsi-necrosis[torch]'")
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted: None)
    assert "torch is not installed" in doctor.check_gpu(tmp_path).fact


@pytest.mark.parametrize(("free_gb", "status"), [(100, PASS), (10, WARN), (1, FAIL)])
def test_disk_by_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_gb: int, status: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(0, 0, free_gb * 10**9))
    assert doctor.check_disk(tmp_path / "new").status == status


def test_a_file_in_the_way_of_the_results_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    assert doctor.check_disk(tmp_path / "out").status == FAIL


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = doctor.check_cache(tmp_path, {"WSI_NECROSIS_CACHE": str(tmp_path / "file" / "cache")})
    assert found.status == WARN
    assert "WSI_NECROSIS_CACHE" in found.remedy


def test_names_with_umlauts_need_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_locale(tmp_path).status in {PASS, WARN}
    monkeypatch.setattr(doctor.locale, "getencoding", lambda: "ANSI_X3.4-1968")
    assert doctor.check_locale(tmp_path).status == WARN
