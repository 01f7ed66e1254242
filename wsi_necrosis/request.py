"""What to analyse and where its results go, and which slide a thread works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import SupportsFloat

from wsi_necrosis.geometry import Mpp
from wsi_necrosis.names import safe_name
from wsi_necrosis.slides.info import GivenMpp

NOTHING: Mapping[str, str] = MappingProxyType({})
# A thread that prepares a slide while another is scored logs for its own slide: handlers ask for it here.
_folder: ContextVar[Path | None] = ContextVar("slide_folder", default=None)


@dataclass(frozen=True, init=False)
class Request:
    """What to analyse, and where its results go.

    Parameters
    ----------
    slide : str or Path
        The slide's file.
    folder : str or Path
        Folder of the slide's results.
    slide_id : str
        The slide's name in tables, by default the file's name.
    mpp : float, Mpp, GivenMpp or None
        Size of a level-0 pixel in um, instead of what the file says; `GivenMpp` also says what gives it.
    overwrite : bool
        Replace results that were made from other inputs; those made from the same inputs are kept, finished or not.
    manifest : mapping of str to str
        What a manifest says of the slide (case, block, role and so on); kept in `result.json`.
    with_path : bool
        Whether results say where the slide lies, and how the file calls its scenes.
    scene : str, int or None
        Number (from 1) or name of the image to measure, where a file holds several; by default the largest.
    roi, tissue : str, Path or None
        GeoJSON of the region of interest, outside which nothing is measured, and of the tissue, in place of what the
        program finds.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> wn.Request("a/slide.svs", "out/slide").name
    'slide.svs'
    """

    slide: Path
    folder: Path
    slide_id: str
    mpp: GivenMpp | None
    overwrite: bool
    manifest: Mapping[str, str] = field(hash=False)
    with_path: bool
    scene: str | int | None
    roi: Path | None
    tissue: Path | None

    def __init__(  # noqa: PLR0913  # options, each given by its name
        self,
        slide: str | Path,
        folder: str | Path,
        slide_id: str = "",
        mpp: SupportsFloat | Mpp | GivenMpp | None = None,
        *,
        overwrite: bool = False,
        manifest: Mapping[str, str] = NOTHING,
        with_path: bool = True,
        scene: str | int | None = None,
        roi: str | Path | None = None,
        tissue: str | Path | None = None,
    ) -> None:
        facts: dict[str, object] = {
            "slide": Path(slide),
            "folder": Path(folder),
            "slide_id": slide_id,
            "mpp": GivenMpp.of(mpp),
        }
        facts |= {"overwrite": overwrite, "manifest": manifest, "with_path": with_path, "scene": scene}
        facts |= {"roi": roi and Path(roi), "tissue": tissue and Path(tissue)}
        for name, value in facts.items():
            object.__setattr__(self, name, value)  # the class is frozen

    @property
    def name(self) -> str:
        """The slide's name in tables, as text that every output can hold."""
        return safe_name(self.slide_id or self.slide.name)


@contextmanager
def working_on(request: Request) -> Iterator[None]:
    """Note that this thread works on a slide from now on, for `folder_in_work`."""
    token = _folder.set(request.folder)
    try:
        yield
    finally:
        _folder.reset(token)


def folder_in_work() -> Path | None:
    """Folder of the slide that this thread works on; None in threads that work on none."""
    return _folder.get()
