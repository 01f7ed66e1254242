"""Which slides a batch analyses, and under which names their results lie."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from wsi_necrosis.dataset.faults import listed
from wsi_necrosis.dataset.manifest import ManifestSlide, read_manifest, read_mpp_table
from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.names import printable, safe_name
from wsi_necrosis.scores.slide_folder import PERF, RESULT
from wsi_necrosis.slides.finding import Skipped, find_slides
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.info import GivenMpp
from wsi_necrosis.slides.tiatoolbox_reader import is_zarr

MANIFEST_SUFFIX = ".csv"
SHOWN = 20


@dataclass(frozen=True)
class BatchSlide:
    """A slide of a batch.

    Attributes
    ----------
    path : Path
        Its file, absolute.
    name : str
        Its name in tables, and the path of its results below `slides`.
    mpp : GivenMpp or None
        Size of a level-0 pixel, instead of what the file says, and the option or table that gives it.
    scene : str or None
        Number or name of the image to measure, where the file holds several; None takes the largest.
    facts : mapping of str to str
        What a manifest says of it.
    is_anonymous : bool
        Whether its path stays out of all that is written.
    roi, tissue : Path or None
        GeoJSON of its region of interest, and of its tissue.
    """

    path: Path
    name: str
    mpp: GivenMpp | None = None
    scene: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    is_anonymous: bool = False
    roi: Path | None = None
    tissue: Path | None = None

    @property
    def shown_path(self) -> str:
        """Its path for tables and records; empty where it is anonymous."""
        return "" if self.is_anonymous else printable(self.path)


@dataclass(frozen=True)
class Where:
    """How slides are looked for in folders, and their pixel size, scene and outlines where these are given."""

    pattern: str | None = None
    recursive: bool = False
    mpp: Mpp | None = None
    mpp_table: Path | None = None
    scene: str | None = None
    roi: Path | None = None
    tissue: Path | None = None


@dataclass(frozen=True)
class Gathered:
    """The slides of a batch, what was passed over, and sentences about both."""

    slides: tuple[BatchSlide, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()


def gather(named: Sequence[str], where: Where) -> Gathered:
    """Find the slides that a user names.

    Parameters
    ----------
    named : sequence of str
        One manifest (`.csv`); or folders, patterns with `*`, `?` or `[`, and slides.
    where : Where
        How to look in folders, and pixel sizes.

    Raises
    ------
    UsageError
        There is no slide, two have one name, or a table is at fault.
    """
    skipped: list[Skipped] = []
    notes: list[str] = []
    if len(named) == 1 and named[0].lower().endswith(MANIFEST_SUFFIX):
        rows, unknown = read_manifest(Path(named[0]))
        slides = [_of_row(row, Path(named[0])) for row in rows]
        notes += [f"{named[0]} has columns that are not used: {listed(unknown)}"] if unknown else []
    else:
        slides = [slide for each in named for slide in _of_name(each, where, skipped)]
    if not slides:
        reasons = "".join(f"; {each.path.name}: {each.reason}" for each in skipped[:SHOWN])
        hint = "" if where.recursive else ", or look in its folders, too, with --recursive"
        raise UsageError(f"no slide in {', '.join(named)}{reasons}; name slides by --pattern{hint}")
    _require_names_of_their_own(slides)
    slides, unused = _with_pixel_sizes(slides, where)
    slides = [replace(slide, scene=slide.scene or where.scene) for slide in slides]
    slides = _with_outlines(slides, where)
    return Gathered(tuple(slides), tuple(skipped), (*notes, *unused, *_equal_content(slides)))


def _of_row(row: ManifestSlide, manifest: Path) -> BatchSlide:
    name = safe_name(row.slide_id or row.path.name)
    return BatchSlide(row.path.absolute(), name, _given(row.mpp, manifest), row.scene, row.facts)


def _given(mpp: Mpp | None, table: Path | None) -> GivenMpp | None:
    """A pixel size that a table gives."""
    return None if mpp is None or table is None else GivenMpp(mpp, f"table {printable(table.name)}")


def _of_name(named: str, where: Where, skipped: list[Skipped]) -> Iterator[BatchSlide]:
    """Slides of a folder, of a pattern, or one."""
    path = Path(named)
    if path.is_dir() and not is_zarr(path):
        found = find_slides(path, where.pattern, recursive=where.recursive, but_with=(RESULT, PERF))
        skipped += found.skipped
        root = path.absolute()
        for each in found.slides:
            yield BatchSlide(each.absolute(), safe_name(each.absolute().relative_to(root).as_posix()))
    elif not path.exists() and glob.has_magic(named):
        for each in map(Path, sorted(glob.glob(named, recursive=True))):  # noqa: PTH207  # takes absolute patterns, too
            if each.is_dir() and not is_zarr(each):
                skipped.append(Skipped(each, "it is a folder; name it without a pattern"))
            elif each.exists() and not each.is_file() and not each.is_dir():
                skipped.append(Skipped(each, "it is a pipe, a socket or a device, and no file"))
            else:
                yield BatchSlide(each.absolute(), safe_name(each.name))
    else:
        name = path.resolve().name if path.name in {"", ".."} else path.name
        yield BatchSlide(path.absolute(), safe_name(name))


def _require_names_of_their_own(slides: Iterable[BatchSlide]) -> None:
    """Refuse two slides whose results would share a folder, and names that lead out of the folder or hide in it."""
    by_name: dict[PurePosixPath, list[Path]] = defaultdict(list)
    for slide in slides:
        name = PurePosixPath(slide.name)
        is_hidden = any(part.startswith(".") for part in name.parts)  # as work in progress is, and ".."
        if name.is_absolute() or is_hidden or name == PurePosixPath():
            raise UsageError(f"{slide.name!r} of {slide.path} is no name for a folder; give another slide_id")
        by_name[name].append(slide.path)
    way_out = "give each a slide_id in a manifest, or the folder that holds both, with --recursive"
    for name, paths in by_name.items():
        if len(paths) > 1:
            both = " and ".join(map(str, paths[:SHOWN]))
            raise UsageError(f"{both} would share the name {name}; {way_out}")
        above = next((each for each in name.parents if each in by_name), None)
        if above is not None:
            both = f"{by_name[above][0]} ({above}) and {paths[0]} ({name})"
            raise UsageError(f"results of {both} would lie in one another; {way_out}")


def _with_pixel_sizes(slides: Sequence[BatchSlide], where: Where) -> tuple[list[BatchSlide], list[str]]:
    """Slides with the pixel size of the manifest, else of the table, else of the option; and what nothing used."""
    sizes = {} if where.mpp_table is None else read_mpp_table(where.mpp_table)
    used, found = set(), []
    for slide in slides:
        key = _key(slide, sizes, where.mpp_table)
        used.add(key)
        given = slide.mpp or _given(sizes.get(key), where.mpp_table) or GivenMpp.of(where.mpp)
        found.append(replace(slide, mpp=given))
    unused = sorted(sizes.keys() - used)
    more = " and others" if len(unused) > SHOWN else ""
    said = f"{where.mpp_table} names slides that are not in this batch: {', '.join(unused[:SHOWN])}{more}"
    return found, [said] if unused else []


def _with_outlines(slides: Sequence[BatchSlide], where: Where) -> list[BatchSlide]:
    """Slides with their regions of interest and their tissue, where these are given."""
    rois, tissues = (_outlines(slides, getattr(where, option), option) for option in ("roi", "tissue"))
    return [
        replace(slide, roi=roi, tissue=tissue)
        for slide, roi, tissue in zip(slides, rois, tissues, strict=True)
    ]


def _outlines(slides: Sequence[BatchSlide], given: Path | None, option: str) -> Sequence[Path | None]:
    """The file of each slide: the one that is given for one slide, else one of a folder; None where none is given."""
    if given is None:
        return [None] * len(slides)
    if not given.is_dir():
        if len(slides) == 1:
            return [given]
        raise UsageError(
            f"--{option} {given} is not a folder; of {len(slides)} slides give one with a file for each"
        )
    found = [outlines_of(given, slide.name) for slide in slides]
    without = [slide.name for slide, path in zip(slides, found, strict=True) if path is None]
    if without:
        raise UsageError(
            f"--{option} {given} holds no outlines of {', '.join(without[:SHOWN])}; name each file as its slide, "
            "ending in .geojson"
        )
    return found


def _key(slide: BatchSlide, sizes: Mapping[str, Mpp], table: Path | None) -> str:
    """The table's entry for a slide: by its path, from anywhere or from the table, else by its name."""
    if table is None:
        return ""
    for key in sizes:
        if "/" in key and (table.parent / key).resolve() == slide.path.resolve():
            return key
    return slide.name if slide.name in sizes else slide.path.name


def _equal_content(slides: Iterable[BatchSlide]) -> list[str]:
    """A sentence for each two slides of the same content; only files of one size are read for it."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in dict.fromkeys(slide.path for slide in slides):  # scenes of one file are no copies
        size = path.stat().st_size if path.is_file() else 0
        if size:
            by_size[size].append(path)
    by_content: dict[str, list[Path]] = defaultdict(list)
    for paths in by_size.values():
        for path in paths if len(paths) > 1 else []:
            try:
                by_content[slide_fingerprint([path])].append(path)
            except WsiNecrosisError:  # cannot be read: its analysis will say so
                continue
    return [
        f"{first} and {other} have the same content; is one slide counted twice?"
        for first, *others in by_content.values()
        for other in others
    ]
