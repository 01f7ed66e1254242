from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command import in_process
from wsi_necrosis.errors import UsageError
from wsi_necrosis.report.marks import MARKS
from wsi_necrosis.review.labels import all_labels
from wsi_necrosis.review.sample import read_sample
from wsi_necrosis.viewer.reviews import Reviews
from wsi_necrosis.viewer.slides import ViewedSlide, ViewedSlides


@pytest.fixture
def slides(out: Path) -> ViewedSlides:
    return ViewedSlides(out)


@pytest.fixture
def reviews(slides: ViewedSlides) -> Reviews:
    return Reviews(slides)


def first_slide(slides: ViewedSlides) -> ViewedSlide:
    return slides.slide(slides.summaries()[0]["key"])


def label_all(reviews: Reviews, labels: str, reader: str = "A") -> dict[str, Any]:
    names = {"v": "viable", "n": "non_viable", "o": "non_tumour", "?": "unsure"}
    state: dict[str, Any] = {}
    for cell in reviews.review("review", reader)["cells"]:
        letter = labels[cell["number"] % len(labels)]
        state = reviews.label("review", {"cell": cell["number"], "label": names[letter], "reader": reader})
    return state


def test_a_review_tells_nothing_of_the_model(reviews: Reviews) -> None:
    found = reviews.review("review", "A")
    assert set(found["cells"][0]) == {"number", "slide", "slide_id", "box_l0", "label"}
    assert found["reading"] is None
    assert found["sentences"] == []


@pytest.mark.parametrize("letters", ["vno", "vn?", "o"])
def test_the_number_is_that_of_review_import_of_the_same_labels(
    reviews: Reviews, out: Path, tmp_path: Path, measured: Path, letters: str
) -> None:
    state = label_all(reviews, letters)
    labels = out / "reviews" / "review.csv"
    table = tmp_path / "labels.csv"
    table.write_bytes(labels.read_bytes())
    written = (out / "reviews" / "review-result.json").read_bytes()
    labels.unlink()
    told = in_process("review", "import", str(out), str(table), "--json")
    assert json.loads(told.stdout)["readings"] == [state["reading"]]
    assert (out / "reviews" / "review-result.json").read_bytes() == written
    labels.unlink()
    text = in_process("review", "import", str(out), str(table)).stdout
    assert text.splitlines() == state["sentences"]


def test_no_number_before_every_cell_has_a_label(reviews: Reviews, slides: ViewedSlides) -> None:
    cells = reviews.review("review", "A")["cells"]
    for cell in cells[:-1]:
        state = reviews.label("review", {"cell": cell["number"], "label": "viable", "reader": "A"})
        assert state["reading"] is None
    assert reviews.review("review", "B")["cells"][0]["label"] is None


def test_a_label_that_was_taken_back_does_not_count_and_is_kept(
    reviews: Reviews, slides: ViewedSlides, out: Path
) -> None:
    assert label_all(reviews, "vno")["reading"] is not None
    state = reviews.label("review", {"cell": 1, "label": "", "reader": "A"})
    assert state["reading"] is None
    assert state["cells"][0]["label"] is None
    kept = all_labels(out, read_sample(out))
    assert [each.label for each in kept if each.cell == 1] == ["non_viable", ""]
    assert reviews.label("review", {"cell": 1, "label": "viable", "reader": "A"})["reading"] is not None


def test_cells_are_hidden_until_their_reader_labels_them(reviews: Reviews, slides: ViewedSlides) -> None:
    slide = first_slide(slides)
    sample = read_sample(slides.out)
    own = {
        (cell.row, cell.col): cell
        for cell in sample.cells
        if sample.slides[cell.slide].folder == slide.folder
    }
    assert reviews.hidden(slide, "A") == set(own) != set()
    place, cell = next(iter(own.items()))
    reviews.label("review", {"cell": cell.number, "label": "unsure", "reader": "A"})
    assert reviews.hidden(slide, "A") == set(own) - {place}
    assert reviews.hidden(slide, "B") == set(own)


@pytest.mark.parametrize(
    "facts",
    [
        {"cell": 1, "label": "viable"},
        {"cell": 1, "label": "viable", "reader": "  "},
        {"cell": 1, "label": "viable", "reader": "A" * 61},
        {"cell": 1, "label": "v", "reader": "A"},
        {"cell": 99, "label": "viable", "reader": "A"},
        {"cell": "1", "label": "viable", "reader": "A"},
        {"label": "viable", "reader": "A"},
    ],
)
def test_what_is_no_label_is_refused(reviews: Reviews, out: Path, facts: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        reviews.label("review", facts)
    assert not (out / "reviews" / "review.csv").exists()


def test_only_reviews_are_named(reviews: Reviews, out: Path) -> None:
    label_all(reviews, "v")
    assert (out / "reviews" / "review-result.json").exists()
    assert reviews.names() == ["review"]
    with pytest.raises(UsageError, match="is not there; draw cells"):
        reviews.review("other", "A")


def test_marks_are_kept_apart_and_never_enter_the_number(
    reviews: Reviews, slides: ViewedSlides, out: Path
) -> None:
    before = label_all(reviews, "vno")
    slide = first_slide(slides)
    marks = reviews.mark(slide, {"row": 3, "col": 4, "label": "viable", "reader": "A"})
    assert [(each["row"], each["col"], each["label"]) for each in marks] == [(3, 4, "viable")]
    assert reviews.marks(slide) == marks
    assert reviews.review("review", "A") == before
    assert reviews.mark(slide, {"row": 3, "col": 4, "label": "", "reader": "A"}) == []
    assert (
        len((out / MARKS).read_text().splitlines()) == 3
    )  # the header, the mark, and that it was taken back


@pytest.mark.parametrize(
    "facts",
    [
        {"row": 3, "col": 4, "label": "viable"},
        {"row": 3, "col": 4, "label": "non_tumour", "reader": "A"},
        {"row": -1, "col": 4, "label": "viable", "reader": "A"},
        {"row": 3, "col": 10**8, "label": "viable", "reader": "A"},
        {"row": "3", "col": 4, "label": "viable", "reader": "A"},
    ],
)
def test_what_is_no_mark_is_refused(
    reviews: Reviews, slides: ViewedSlides, out: Path, facts: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        reviews.mark(first_slide(slides), facts)
    assert not (out / MARKS).exists()
