import io
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from wsi_necrosis.report import pages
from wsi_necrosis.report.pages import data_uri, jpeg_of, write_page


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pages, "TEMPLATES", tmp_path)
    pages._environment.cache_clear()
    yield tmp_path / "page.html"
    pages._environment.cache_clear()


def test_text_from_outside_is_shown_as_text(template: Path, tmp_path: Path) -> None:
    template.write_text('<p title="{{ name }}">{{ name }}</p>')
    write_page(tmp_path / "out.html", "page.html", name='"><script>alert(1)</script>')
    said = "&#34;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
    assert (tmp_path / "out.html").read_text() == f'<p title="{said}">{said}</p>'


def test_a_name_that_is_missing_is_an_error(template: Path, tmp_path: Path) -> None:
    template.write_text("{{ name }}")
    with pytest.raises(UndefinedError):
        write_page(tmp_path / "out.html", "page.html")


def test_a_picture_is_held_by_its_address() -> None:
    jpeg = jpeg_of(Image.fromarray(np.full((5, 7, 3), 100, np.uint8)))
    assert Image.open(io.BytesIO(jpeg)).size == (7, 5)
    assert data_uri(jpeg).startswith("data:image/jpeg;base64,/9j/")
