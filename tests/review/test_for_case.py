from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.classes import CLASSES, UNSURE
from wsi_necrosis.errors import UsageError
from wsi_necrosis.quantify.cases import CaseNumber
from wsi_necrosis.report.case_slides import CaseSlide, case_slides, model_number
from wsi_necrosis.review.for_case import of_case, reviewed_number
from wsi_necrosis.review.labels import Given, import_labels
from wsi_necrosis.review.sample import Sample, sample_cells


@pytest.fixture
def sample(out: Path) -> Sample:
    """Cells of both slides, not labelled yet."""
    return sample_cells(out, 20, 1)


@pytest.fixture
def slides(out: Path) -> list[CaseSlide]:
    return case_slides(out)[""]


@pytest.fixture
def model(slides: list[CaseSlide]) -> CaseNumber:
    found = model_number("", slides)
    assert found is not None
    return found


def label(out: Path, sample: Sample, reader: str, unsure: int = 0) -> None:
    """Labels as the model predicted, the first ones in doubt."""
    given = [
        Given(cell.number, UNSURE if cell.number <= unsure else CLASSES[cell.predicted], reader)
        for cell in sample.cells
    ]
    import_labels(out, sample, given, "now")


def test_labels_give_the_case_a_number_with_an_interval(
    out: Path, sample: Sample, slides: list[CaseSlide], model: CaseNumber
) -> None:
    label(out, sample, "A")
    found = reviewed_number(out, "review", None, slides, model)
    assert found.interval is not None
    assert model.percent_viable is not None
    assert found.interval.low < model.percent_viable < found.interval.high
    assert found.counted == ("a.tiff", "b.tiff")
    low, high = np.percentile(found.interval.draws, [2.5, 97.5])
    assert low == pytest.approx(found.interval.low, abs=1)
    assert high == pytest.approx(found.interval.high, abs=1)
    assert found.definition["target"] == "the tissue that was scanned"
    assert "labels of 20 cells by A" in found.definition["estimator"]
    label(out, sample, "B", unsure=8)
    wider = reviewed_number(out, "review", "B", slides, model)
    assert wider.interval is not None
    assert wider.interval.high - wider.interval.low > found.interval.high - found.interval.low
    assert wider.percent_viable is not None
    assert found.percent_viable is not None
    assert wider.percent_viable > found.percent_viable


def test_what_is_not_clear_is_refused(
    out: Path, sample: Sample, slides: list[CaseSlide], model: CaseNumber
) -> None:
    with pytest.raises(UsageError, match="has no labels"):
        reviewed_number(out, "review", None, slides, model)
    for reader in "AB":
        label(out, sample, reader)
    with pytest.raises(UsageError, match="A, B; name one with --reader"):
        reviewed_number(out, "review", None, slides, model)
    with pytest.raises(UsageError, match="no labels by 'C'"):
        reviewed_number(out, "review", "C", slides, model)
    assert of_case(out, "review", slides[:1])
    with pytest.raises(UsageError, match=r"differ in b\.tiff"):
        reviewed_number(out, "review", "A", slides[:1], model)


def test_without_a_tumour_label_there_is_no_number(
    out: Path, sample: Sample, slides: list[CaseSlide], model: CaseNumber
) -> None:
    import_labels(out, sample, [Given(cell.number, CLASSES[0], "A") for cell in sample.cells], "now")
    found = reviewed_number(out, "review", "A", slides, model)
    assert (found.percent_viable, found.interval, found.reason) == (None, None, "no labelled cell is tumour")
