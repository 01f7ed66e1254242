"""TIFF slides that OpenSlide does not open, read with tifffile: OME-TIFF, strips, and compressions that it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import tifffile

from wsi_necrosis.errors import SlideError, UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.colour_profile import profile_name
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, SlideWarning, pixel_size_warnings, settle_mpp
from wsi_necrosis.slides.levels import with_true_levels
from wsi_necrosis.slides.ome_xml import OmeImage, read_ome
from wsi_necrosis.slides.stored_levels import Levels
from wsi_necrosis.slides.tiff_check import (
    COLOURS,
    CONVERT,
    TiffFacts,
    require_rgb,
    resolution_um,
    told_as_damage,
)
from wsi_necrosis.slides.tifffile_levels import Picture, TifffileLevels

LIKE = 2.0  # a scene whose pixels are up to so many times larger or smaller is tissue, and no macro or label image


def open_ome_tiff(
    path: Path, facts: TiffFacts, given: GivenMpp | None, scene: str | None
) -> tuple[SlideInfo, Levels]:
    """Open an OME-TIFF.

    Parameters
    ----------
    path : Path
        A file whose description is OME-XML.
    facts : TiffFacts
        Its directories.
    given : GivenMpp or None
        Plausible pixel size of level 0, instead of what the file states.
    scene : str or None
        Name or number (from 1) of the image to read; by default the largest.

    Raises
    ------
    SlideError
        The file is damaged, a file of it is missing, or the image is not 8-bit RGB.
    UsageError
        There is no such scene.
    """
    with told_as_damage(path), tifffile.TiffFile(path) as tiff:
        images = read_ome(path, tiff.ome_metadata or "")
    at = _wanted(path, images, scene)
    image = images[at]
    if not image.is_rgb:
        raise SlideError(f"{path} holds {image.kind} ({image.name}); only 8-bit RGB is read; {CONVERT}")
    picture = _picture_of(path, image)
    stated = ("metadata", image.mpp, image.objective)
    levels = TifffileLevels(path, picture)
    if levels.sizes[0] != image.size:
        levels.close()
        raise SlideError(
            f"{path} holds {levels.sizes[0][0]} x {levels.sizes[0][1]} px where its OME-XML states "
            f"{image.size[0]} x {image.size[1]}; it is damaged"
        )
    scenes, warnings = _scenes(images, at)
    info, chosen = _info(path, levels, stated, given, facts, ("ome-tiff", at + 1, scenes, warnings))
    return replace(info, scene_names=tuple(each.name for each in images)), chosen


def open_plain_tiff(path: Path, facts: TiffFacts, given: GivenMpp | None) -> tuple[SlideInfo, Levels]:
    """Open a TIFF of 8-bit RGB that OpenSlide does not: in strips, in planes, or of another compression.

    Errors as `open_ome_tiff`.
    """
    with told_as_damage(path), tifffile.TiffFile(path) as tiff:
        pages = [
            (number, page)
            for number, page in enumerate(tiff.pages)
            if page.photometric in COLOURS and page.bitspersample == 8
        ]
        if not pages:
            raise SlideError(f"{path} holds no picture of 8-bit RGB; only that is read")
        largest = max(pages, key=lambda each: each[1].imagewidth * each[1].imagelength)
        require_rgb(path, largest[1])
        _require_codec(path, int(largest[1].compression))
        kinds = largest[1].is_tiled, largest[1].samplesperpixel
        alike = [each for each in pages if (each[1].is_tiled, each[1].samplesperpixel) == kinds]
        alike.sort(key=lambda each: -each[1].imagewidth * each[1].imagelength)
        stated = resolution_um(largest[1])
    levels = TifffileLevels(path, Picture(tuple(((path, number, -1),) for number, _ in alike)))
    size = None if stated is None else Mpp(*stated)
    return _info(path, levels, ("TIFF resolution", size, None), given, facts, ("tiff", 1, (), ()))


def _require_codec(path: Path, compression: int) -> None:
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        raise SlideError(f"{path} cannot be opened (Unsupported TIFF compression: {compression}); {CONVERT}")


def _info(
    path: Path,
    levels: TifffileLevels,
    stated: tuple[str, Mpp | None, float | None],
    given: GivenMpp | None,
    facts: TiffFacts,
    kind: tuple[str, int, tuple[str, ...], tuple[SlideWarning, ...]],
) -> tuple[SlideInfo, Levels]:
    source, size, objective = stated
    vendor, scene, scenes, warnings = kind
    try:
        chosen, left_out = with_true_levels(levels, levels.page_sizes_um(), of_any_writer=True)
        mpp, mpp_source = settle_mpp(path, size, source, given)
    except BaseException:
        levels.close()
        raise
    said = levels.contradiction()
    colours = (colour_warning(said),) if said else ()
    return SlideInfo(
        path=path,
        files=tuple(sorted({path, *levels._picture.files})),
        vendor=vendor,
        reader="tifffile",
        size_l0=chosen.sizes[0],
        plane=Box(0, 0, *chosen.sizes[0]),
        bounds_l0=(0, 0),
        downsamples=chosen.downsamples,
        levels=chosen.sizes,
        mpp=mpp,
        mpp_source=mpp_source,
        objective=objective,
        warnings=(*pixel_size_warnings(mpp, mpp_source, objective), *warnings, *left_out, *colours),
        scene=scene,
        scenes=scenes,
        icc_profile=profile_name(facts.icc_profile),
    ), chosen


def colour_warning(said: str) -> SlideWarning:
    """The warning for a file whose tag and JPEG tiles disagree on colours."""
    return SlideWarning("colours_contradict", f"{said}; the tiles are believed")


def _wanted(path: Path, images: Sequence[OmeImage], scene: str | None) -> int:
    """Index of the image to read: the one that is named, else the largest."""
    if scene is None:
        return max(range(len(images)), key=lambda at: images[at].size[0] * images[at].size[1])
    found = [at for at in range(len(images)) if scene == str(at + 1)]
    found = found or [at for at, image in enumerate(images) if scene == image.name]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{path} has {len(found)} scenes of the name {scene!r}; give the number of one")
    known = "; ".join(f"{at + 1}: {image.name}" for at, image in enumerate(images))
    raise UsageError(f"{path} has no scene {scene!r}; it has {known}")


def _scenes(images: Sequence[OmeImage], chosen: int) -> tuple[tuple[str, ...], tuple[SlideWarning, ...]]:
    """The images of a file in words, and a warning where one that may hold tissue is left out."""
    if len(images) == 1:
        return (), ()
    described = tuple(
        f"{at + 1}: {image.name}, {image.size[0]} x {image.size[1]} px, {image.mpp or 'unknown'} um"
        for at, image in enumerate(images)
    )
    left_out = [
        text
        for at, (image, text) in enumerate(zip(images, described, strict=True))
        if at != chosen and image.is_rgb and _alike(image.mpp, images[chosen].mpp)
    ]
    if not left_out:
        return described, ()
    said = f"only scene {described[chosen]} is measured; left out: {'; '.join(left_out)}; choose another with --scene"
    return described, (SlideWarning("scenes_left_out", said),)


def _alike(one: Mpp | None, other: Mpp | None) -> bool:
    """Whether two images have pixels of about one size, as pieces of tissue have."""
    if one is None or other is None:
        return one is other
    return 1 / LIKE < one.side / other.side < LIKE


def _picture_of(path: Path, image: OmeImage) -> Picture:
    """Where the levels of an image lie: its pages, and the sub-directories of these."""
    wanted = 3 if image.kind == "RGB in three channels" else 1
    planes = (image.planes or ((0, ""),))[:wanted]
    places = [(_beside(path, name), number) for number, name in planes]
    if len(places) < wanted:
        raise SlideError(
            f"{path} names {len(places)} planes for three channels in its OME-XML; it is damaged"
        )
    with told_as_damage(path):
        counts = [_sub_pages(file, number, single=wanted == 1) for file, number in places]
    subs = range(-1, min(counts))
    return Picture(tuple(tuple((file, number, sub) for file, number in places) for sub in subs))


def _sub_pages(file: Path, number: int, *, single: bool) -> int:
    """Number of sub-directories of a page, which must be 8-bit."""
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[number]
        if single:
            require_rgb(file, page)
        elif page.samplesperpixel != 1 or page.bitspersample != 8:
            raise SlideError(f"{file} holds channels of {page.bitspersample} bits; only 8-bit RGB is read")
        return len(page.pages or ()) if page.subifds else 0


def _beside(path: Path, name: str) -> Path:
    """The file of a plane, which lies beside the one that was named."""
    file = path if not name or name == path.name else path.with_name(Path(name).name)
    if Path(name).name != name or not file.is_file():
        raise SlideError(
            f"{path} is an OME-TIFF of several files, and {name[:80]} is not beside it; copy that, too"
        )
    return file
