"""The OME-XML of an OME-TIFF: its images, their pixel sizes, and the pages that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.outside import OutsideError, parse_xml

UM_PER_UNIT = {
    "µm": 1.0,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
# Colours of channels as OME writes them (RGBA in a signed number), and their names, for RGB in three channels.
CHANNELS = (
    {"red", "r", "-16776961"},
    {"green", "g", "16711935"},
    {"blue", "b", "65535"},
)


@dataclass(frozen=True)
class OmeImage:
    """An image of an OME-TIFF.

    Attributes
    ----------
    name : str
        Its name, or its number.
    size : tuple of int
        Width and height in pixels.
    kind : str
        What its pixels are, in words; `RGB` and `RGB in three channels` are read.
    planes : tuple of (int, str)
        Page of the first directories of a file, and that file's name (empty: the file that says so), of each plane.
    mpp : Mpp or None
        Pixel size.
    objective : float or None
        Nominal magnification of the objective that it refers to.
    """

    name: str
    size: tuple[int, int]
    kind: str
    planes: tuple[tuple[int, str], ...]
    mpp: Mpp | None
    objective: float | None

    @property
    def is_rgb(self) -> bool:
        """Whether it can be read."""
        return self.kind.startswith("RGB")


def read_ome(path: Path, text: str) -> tuple[OmeImage, ...]:
    """The images that an OME-XML describes.

    Raises
    ------
    SlideError
        It is damaged, too large, holds entities, describes no image, or lies in another file.
    """
    try:
        root = _plain(parse_xml(text))
        binary = root["children"].get("BinaryOnly")
        if binary:
            other = binary[0]["facts"].get("MetadataFile", "")
            raise SlideError(
                f"{path} is one file of an OME-TIFF whose description lies in {other or 'another file'}, which is not "
                "read; write the image into one OME-TIFF, as with `bfconvert`"
            )
        images = tuple(_image(at, root, each) for at, each in enumerate(root["children"].get("Image", [])))
    except (OutsideError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise SlideError(f"{path} is an OME-TIFF whose description cannot be read ({error})") from None
    if not images:
        raise SlideError(f"{path} is an OME-TIFF whose description names no image")
    return images


def _plain(element: Any) -> dict[str, Any]:
    """An element as its attributes and its children by name, without name spaces."""
    children: dict[str, list[Any]] = {}
    for child in element:
        if isinstance(child.tag, str):
            children.setdefault(child.tag.rpartition("}")[2], []).append(_plain(child))
    return {"facts": dict(element.attrib), "children": children, "text": element.text}


def _image(at: int, root: Mapping[str, Any], image: Mapping[str, Any]) -> OmeImage:
    pixels = image["children"]["Pixels"][0]
    facts, channels = pixels["facts"], pixels["children"].get("Channel", [])
    size = int(facts["SizeX"]), int(facts["SizeY"])
    if min(size) < 1:
        raise ValueError(f"an image of {size[0]} x {size[1]} px")
    planes = tuple(_planes(pixels["children"].get("TiffData", []), root["facts"].get("UUID")))
    name = image["facts"].get("Name") or f"image {at + 1}"
    return OmeImage(name, size, _kind(facts, channels), planes, _mpp(facts), _objective(root, image))


def _kind(facts: Mapping[str, str], channels: list[Any]) -> str:
    """What the pixels are, in words."""
    count, kind = int(facts.get("SizeC", 1)), facts.get("Type", "")
    stack = int(facts.get("SizeZ", 1)) * int(facts.get("SizeT", 1))
    samples = [int(each["facts"].get("SamplesPerPixel", 1)) for each in channels] or [count]
    if kind != "uint8":
        return f"{kind} samples"
    if stack > 1:
        return f"a stack of {stack} planes"
    if samples in ([3], [4]):
        return "RGB"
    if samples == [1, 1, 1] and all(
        {each["facts"].get("Name", "").lower(), each["facts"].get("Color", "")} & names
        for each, names in zip(channels, CHANNELS, strict=True)
    ):
        return "RGB in three channels"
    named = ", ".join(each["facts"].get("Name", "") or "unnamed" for each in channels[:8])
    return f"{count} channels of grey levels ({named})" if count > 1 else "grey levels"


def _planes(parts: list[Any], own: str | None) -> Iterator[tuple[int, str]]:
    for part in parts:
        facts = part["facts"]
        uuid = part["children"].get("UUID", [{"facts": {}, "text": None}])[0]
        is_own = own is not None and (uuid["text"] or "").strip() == own.strip()  # whatever it is called now
        for more in range(max(1, min(4, int(facts.get("PlaneCount", 1))))):
            yield int(facts.get("IFD", 0)) + more, "" if is_own else uuid["facts"].get("FileName", "")


def _mpp(facts: Mapping[str, str]) -> Mpp | None:
    """Pixel size; its unit is um unless it says another."""
    sides = []
    for axis in "XY":
        unit = UM_PER_UNIT.get(facts.get(f"PhysicalSize{axis}Unit", "um"))
        try:
            length = float(facts[f"PhysicalSize{axis}"])
        except (KeyError, ValueError):
            return None
        if unit is None:
            return None
        sides.append(length * unit)
    return Mpp(*sides)


def _objective(root: Mapping[str, Any], image: Mapping[str, Any]) -> float | None:
    """Nominal magnification of the objective that an image refers to."""
    settings = image["children"].get("ObjectiveSettings")
    wanted = settings[0]["facts"].get("ID") if settings else None
    for instrument in root["children"].get("Instrument", []):
        for objective in instrument["children"].get("Objective", []):
            facts = objective["facts"]
            if wanted is not None and facts.get("ID") == wanted and "NominalMagnification" in facts:
                return float(facts["NominalMagnification"])
    return None
