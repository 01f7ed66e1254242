"""Percent viable tumour on whole-slide images, with the areas behind it.

The names that a notebook needs first; each is imported when it is first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "open_slide": "slides.slide",
    "read_overview": "slides.slide",
    "find_tissue": "tiling.tissue",
    "extract": "radiomics.extraction",
    "load_model": "model.tile_model",
    "measure": "quantify.percentage",
    "load_settings": "settings.loading",
    "Request": "analysis",
    "analyse": "analysis",
}

__all__ = list(_HOMES)  # a list of strings, made of the table's keys


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
