"""Read what a person outlined on a slide: region of interest and tissue, a file each."""

from __future__ import annotations

from pathlib import Path

import shapely

from wsi_necrosis.dataset.annotations import read_areas, refuse_off_slide
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.tiling.regions import Region, Regions

SUFFIXES = (".geojson", ".geojson.gz", ".json")


def read_regions(roi: Path | None, tissue: Path | None, info: SlideInfo) -> Regions:
    """The outlined areas of a slide; each is the union of all areas of its file, whatever their class.

    Classes that begin with Ignore take their area from the others.

    Parameters
    ----------
    roi, tissue : Path or None
        GeoJSON of the region of interest, and of the tissue.
    info : SlideInfo
        The slide, which the outlines must lie on.

    Raises
    ------
    UsageError
        A file cannot be read, holds no area, or outlines miss the slide.
    """
    found = [None if path is None else _read_region(path, info) for path in (roi, tissue)]
    return Regions(*found)


def outlines_of(folder: Path, slide: str) -> Path | None:
    """The file of a slide's outlines in a folder: named as the slide, with or without its extension; None without one.

    Raises
    ------
    UsageError
        There are several.

    Examples
    --------
    >>> Path("drawn").mkdir()
    >>> Path("drawn/a.geojson").touch()
    >>> outlines_of(Path("drawn"), "a.svs"), outlines_of(Path("drawn"), "b.svs")
    (PosixPath('drawn/a.geojson'), None)
    """
    names = dict.fromkeys((slide, str(Path(slide).with_suffix(""))))
    found = [path for name in names for end in SUFFIXES if (path := folder / f"{name}{end}").is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder} holds {found[0].name} and {found[1].name} for {slide}; keep one of them")
    return found[0] if found else None


def _read_region(path: Path, info: SlideInfo) -> Region:
    try:
        areas = read_areas(path)
        kept = [area for area in areas if not area.is_ignored]
        refuse_off_slide(kept, info, path)
    except DatasetError as error:
        raise UsageError(str(error)) from None
    taken = shapely.union_all([area.polygon for area in areas if area.is_ignored])
    polygon = shapely.difference(shapely.union_all([area.polygon for area in kept]), taken)
    if polygon.is_empty:
        raise UsageError(f"{path} outlines no area; draw one in QuPath and export it as GeoJSON")
    return Region(polygon)
