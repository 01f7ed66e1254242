"""Make an HTML page of a template: one file that needs no network and no script."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_necrosis.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL import Image

TEMPLATES = Path(__file__).parent / "templates"
JPEG_QUALITY = 80


def write_page(path: Path, template: str, **facts: Any) -> None:
    """Write a page; text from outside is shown as text, and a file that exists is replaced.

    Parameters
    ----------
    path : Path
        The file to write.
    template : str
        In `report/templates`.
    **facts : Any
        Names that the template uses.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    write_text(path, _environment().get_template(template).render(**facts), durable=False)


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds the picture itself."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def jpeg_of(image: Image.Image) -> bytes:
    """A picture as JPEG, the same bytes for the same pixels."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()


@cache
def _environment() -> Environment:
    from jinja2 import (
        Environment,
        FileSystemLoader,
        StrictUndefined,
    )  # a tenth of a second, for reports alone

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
