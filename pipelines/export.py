"""`wsi-necrosis export` and `report`: write files of finished slides anew; neither slides nor model are needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.report.folder_files import make_all_again


@dataclass(frozen=True)
class Exported:
    """Number of slides, and a line for each file that could not be made."""

    slides: int
    faults: Sequence[str]

    def __str__(self) -> str:
        """Every fault, and the count."""
        slides = "1 slide" if self.slides == 1 else f"{self.slides} slides"
        return "\n".join([*self.faults, f"files of {slides} written, {len(self.faults)} faults"])


def export(out: Path, formats: Iterable[str]) -> Exported:
    """Write files of some formats for the slides of an output folder, or for one slide's folder.

    Parameters
    ----------
    out : Path
        The folder.
    formats : iterable of str
        Names of formats; one text may hold several, separated by commas.

    Raises
    ------
    WsiNecrosisError
        As `make_all_again`.
    """
    names = [name.strip() for each in formats for name in each.split(",") if name.strip()]
    return Exported(*make_all_again(out, names))
