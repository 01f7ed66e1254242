import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import SlideError, StoreError
from wsi_necrosis.files import require_writable
from wsi_necrosis.names import MOST_BYTES, path_of, printable, safe_name, shortened
from wsi_necrosis.slides.slide import open_slide

any_name = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)
TOO_LONG = Path("x/" * 2500 + "s.svs")


@given(any_name)
def test_any_name_of_a_file_becomes_one_short_line_of_text(name: bytes) -> None:
    found = safe_name(os.fsdecode(name))
    assert 0 < len(found.encode("utf-8")) <= MOST_BYTES
    assert len(found.splitlines()) == 1
    assert safe_name(found) == found


@given(any_name)
def test_a_path_is_found_again(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    if b"\\" not in name and b"\xc2" not in name and b"\xe2" not in name:  # ends of lines beyond ASCII
        assert path_of(printable(path)) == path


@given(
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="/"), min_size=1, max_size=40)
)
def test_names_that_are_text_stay(name: str) -> None:
    assert safe_name(name) == name


def test_long_names_stay_two() -> None:
    one, other = (safe_name(f"{'n' * 120}{middle}{'n' * 120}.svs") for middle in "ab")
    assert one != other
    assert one.endswith(".svs")
    assert safe_name(f"CASE/{'é' * 120}").startswith("CASE/é")


def test_a_path_that_is_too_long_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"5005 bytes\) is longer than this system takes"):
        open_slide(TOO_LONG)
    with pytest.raises(StoreError, match="give a shorter path") as raised:
        require_writable(TOO_LONG)
    assert len(str(raised.value)) < 400
    with pytest.raises(StoreError, match="its name has 254 bytes, of at most 200"):
        require_writable(tmp_path / ("n" * 254))


def test_a_message_has_both_ends_of_a_path() -> None:
    assert shortened("a.svs") == "a.svs"
    assert shortened(TOO_LONG).startswith("x/x/")
    assert shortened(TOO_LONG).endswith("x/s.svs")
