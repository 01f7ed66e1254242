from __future__ import annotations

from PIL import ImageCms

from wsi_necrosis.slides.colour_profile import profile_name


def test_a_profile_is_named() -> None:
    for kind in ("sRGB", "XYZ"):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(kind)).tobytes()
        assert kind in profile_name(profile)


def test_one_that_cannot_be_read_is_unnamed_and_none_is_none() -> None:
    assert profile_name(b"no profile") == "unnamed"
    assert profile_name(None) is None
    assert profile_name(b"") is None
