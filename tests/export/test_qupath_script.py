from pathlib import Path

import pytest

from wsi_necrosis.export import qupath_script
from wsi_necrosis.export.qupath_script import groovy_text, write_qupath_script


def test_the_folder_stands_in_the_script_as_text(tmp_path: Path) -> None:
    out = tmp_path / "Fälle 'neu' ${x}"
    out.mkdir()
    write_qupath_script(out)
    text = (out / "qupath_import.groovy").read_text(encoding="utf-8")
    assert f"new File({groovy_text(str(out.resolve()))})" in text
    assert "def regionsFile = 'regions.geojson'" in text
    assert "@" not in text
    assert text.isascii()


def test_anonymised_slides_have_a_script_without_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qupath_script, "rows_by_folder", lambda out: {"a": {"path": ""}})
    write_qupath_script(tmp_path)
    assert tmp_path.name not in (tmp_path / "qupath_import.groovy").read_text()


@pytest.mark.parametrize(
    ("text", "groovy"),
    [("a'b", r"'a\'b'"), ("a\\b", r"'a\\b'"), ("ä\n", r"'\u00e4\u000a'"), ("𝄞", r"'\ud834\udd1e'")],
)
def test_nothing_ends_a_text_early(text: str, groovy: str) -> None:
    assert groovy_text(text) == groovy
