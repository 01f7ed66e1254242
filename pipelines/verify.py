"""`wsi-necrosis verify`: check the results of an output folder against what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.errors import UsageError
from wsi_necrosis.report.verify import finished_folders, verify_slide, verify_summary
from wsi_necrosis.scores.slide_folder import SLIDES


@dataclass(frozen=True)
class Verified:
    """Number of slides that were checked, and a line for each fault."""

    slides: int
    faults: Sequence[str]

    def __str__(self) -> str:
        """Every fault, and the count."""
        count = f"{self.slides} slides checked, {len(self.faults)} faults"
        return "\n".join([*self.faults, count])


def verify(out: Path, *, full: bool = False) -> Verified:
    """Check every finished slide of an output folder, or one slide's folder.

    Parameters
    ----------
    out : Path
        The folder.
    full : bool
        Also compare the slides with their fingerprints, but for those that were anonymised.

    Raises
    ------
    UsageError
        There are no results.
    """
    folders = finished_folders(out)
    if not folders:
        raise UsageError(f"{out} holds no results of slides; give the folder that `run` or `batch` wrote to")
    faults = [f"{folder}: {fault}" for folder in folders for fault in verify_slide(folder, full=full)]
    if (out / SLIDES).is_dir():
        faults += [f"{out}: {fault}" for fault in verify_summary(out)]
    return Verified(len(folders), faults)
