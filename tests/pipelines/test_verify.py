import shutil
from pathlib import Path

import pytest

from tests.helpers.command import in_process
from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.inference.job import Job
from wsi_necrosis.pipelines.verify import verify


def test_faults_are_listed_and_end_with_exit_code_1(job: Job, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slides" / "slide.tiff"))
    write_summary(tmp_path)
    whole = in_process("verify", str(tmp_path), "--full")
    assert (whole.returncode, whole.stdout) == (0, "1 slides checked, 0 faults\n")
    (folder / "overlay.png").write_bytes(b"")
    damaged = in_process("verify", str(tmp_path))
    assert damaged.returncode == 1
    assert f"{folder}: overlay.png has 0 bytes, not " in damaged.stdout
    assert damaged.stdout.endswith("1 slides checked, 1 faults\n")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results of slides"):
        verify(tmp_path)
