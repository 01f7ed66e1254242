"""Tables of slides: manifests, which say what each slide is, and tables of pixel sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsi_necrosis.dataset.cases import refuse_two_spellings
from wsi_necrosis.dataset.faults import listed
from wsi_necrosis.dataset.tables import Row, numbers, path_in, positive, read_rows
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.geometry import Mpp

PATH, SLIDE_ID, SCENE, MPP = "path", "slide_id", "scene", ("mpp_x", "mpp_y")
KEPT = ("case", "block", "role", "slab", "slab_row", "slab_col")  # in `result.json` and `summary.csv`
ROLES = ("slab", "biopsy", "margin", "other")
COUNTED_ROLES = ("", "slab")  # of these a case is made; a slide without a role is one of the slab
WAY_OUT = "check the path"


@dataclass(frozen=True)
class ManifestSlide:
    """A row of a manifest.

    Attributes
    ----------
    path : Path
        The slide.
    slide_id : str
        Its name in tables; empty where the manifest gives none.
    mpp : Mpp or None
        Size of a level-0 pixel in um, where the manifest gives one.
    scene : str or None
        Number or name of the image to measure, where the manifest gives one.
    facts : mapping of str to str
        Values of the columns `KEPT` that are not empty.
    """

    path: Path
    slide_id: str = ""
    mpp: Mpp | None = None
    scene: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def read_manifest(path: Path) -> tuple[tuple[ManifestSlide, ...], tuple[str, ...]]:
    """Slides as a manifest lists them, and names of its columns that mean nothing.

    Parameters
    ----------
    path : Path
        CSV with the column path (relative to the manifest), and optionally slide_id, case, block, role (slab,
        biopsy, margin, other), slab, slab_row, slab_col, scene, mpp_x and mpp_y (um). Other columns are not used.

    Raises
    ------
    UsageError
        It cannot be read, lacks a path, holds an invalid pixel size or role, or writes a case in two ways.
    """
    rows = _rows(path, (PATH,))
    pathless = [str(number) for number, row in enumerate(rows, 2) if not row[PATH].strip()]
    if pathless:
        raise UsageError(f"{path} gives no path in the lines {', '.join(pathless)}; fill them or remove them")
    roles = {row.get("role", "").strip() for row in rows} - {"", *ROLES}
    if roles:
        raise UsageError(f"{path} has unknown roles {listed(roles)}; a role is one of {', '.join(ROLES)}")
    try:
        refuse_two_spellings((row.get("case", "").strip() for row in rows), path)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    sizes = _pixel_sizes(rows, PATH, path)
    unused = tuple(name for name in rows[0] if name and name not in {PATH, SLIDE_ID, SCENE, *MPP, *KEPT})
    return tuple(_slide(row, mpp, path) for row, mpp in zip(rows, sizes, strict=True)), unused


def read_mpp_table(path: Path) -> dict[str, Mpp]:
    """Pixel sizes by path or name of a slide, as a table gives them.

    Parameters
    ----------
    path : Path
        CSV with the columns path or name, and mpp_x; mpp_y is taken as mpp_x where it is not given.

    Raises
    ------
    UsageError
        It cannot be read, lacks a column, or holds an invalid pixel size.
    """
    rows = _rows(path, ("mpp_x",))
    column = next((name for name in (PATH, "name") if name in rows[0]), None)
    if column is None:
        raise UsageError(f"{path} lacks a column path or name; it needs one of them, mpp_x and mpp_y")
    sizes = _pixel_sizes(rows, column, path)
    found = {row[column].strip(): mpp for row, mpp in zip(rows, sizes, strict=True) if mpp is not None}
    if len(found) < len(rows):
        raise UsageError(f"{path} names a slide twice, or one without mpp_x; give each slide one line")
    return found


def _rows(path: Path, required: Sequence[str]) -> list[Row]:
    try:
        return read_rows(path, required, WAY_OUT)
    except DatasetError as error:
        raise UsageError(str(error)) from None


def _pixel_sizes(rows: Sequence[Row], name: str, path: Path) -> list[Mpp | None]:
    try:
        found = numbers(rows, dict.fromkeys(MPP, positive), name, path)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    sides = [(each.get("mpp_x", each.get("mpp_y")), each.get("mpp_y", each.get("mpp_x"))) for each in found]
    return [None if x is None or y is None else Mpp(x, y) for x, y in sides]


def _slide(row: Row, mpp: Mpp | None, manifest: Path) -> ManifestSlide:
    facts = {name: row[name].strip() for name in KEPT if row.get(name, "").strip()}
    scene = row.get(SCENE, "").strip() or None
    return ManifestSlide(path_in(manifest, row[PATH]), row.get(SLIDE_ID, "").strip(), mpp, scene, facts)
