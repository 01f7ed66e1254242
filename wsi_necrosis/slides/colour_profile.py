"""The name of a slide's colour profile, which is told and not applied: models are trained on pixels as stored."""

from __future__ import annotations

from io import BytesIO

from PIL import ImageCms

SHOWN = 80  # characters of a name


def profile_name(profile: bytes | None) -> str | None:
    """Name of an ICC profile; None without one, and "unnamed" for one that cannot be read.

    Examples
    --------
    >>> from PIL import ImageCms
    >>> profile_name(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    'sRGB built-in'
    """
    if not profile:
        return None
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return "unnamed"
    return " ".join(name.split())[:SHOWN] or "unnamed"
