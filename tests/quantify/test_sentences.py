"""What is said of results, made of what `measure` gives."""

import ast
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given

from tests.helpers.complete_scores import NON_TUMOUR, NON_VIABLE, VIABLE, scores, settings, stores, thresholds
from wsi_necrosis.model.quantity import EndOfScale, Estimator, EstimatorFigures, Quantity
from wsi_necrosis.quantify.evaluable import Reason
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.quantify.quality import SAID
from wsi_necrosis.quantify.sentences import (
    BY,
    REASONS,
    SHORT,
    class_areas,
    estimators_text,
    interval_text,
    limit_of_blank_text,
    limit_of_full_text,
    percent_text,
    short_warnings,
    warning_lines,
)
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.slide_folder import EXPORT_FAILED
from wsi_necrosis.settings.run import QuantifySettings

ROOT = Path(__file__).parents[2]
ENDS = EndOfScale(21.2, 37.9, 2), EndOfScale(88.1, 70.2, 3)
KNOWN = Quantity("by_class", EstimatorFigures(26.0, 0.5, 25.0), EstimatorFigures(24.0, 0.6, 20.0, *ENDS))


def result_of(
    cells: list[tuple[float, ...]], quantity: Quantity | None = None, **changes: Any
) -> dict[str, Any]:
    found = measure(scores(np.array([cells]), 2000), settings(**changes), quantity)
    return json.loads(json.dumps(found.to_dict(), allow_nan=False))


@given(stores(), thresholds)
def test_every_result_can_be_said(store: Scores, wanted: QuantifySettings) -> None:
    result = measure(store, wanted, KNOWN).to_dict()
    assert percent_text(result)
    assert interval_text(result)
    assert len(warning_lines(result)) == len(result["warnings"])
    assert short_warnings(result).count(";") == max(0, len(result["warnings"]) - 1)


def test_every_reason_and_estimator_has_words() -> None:
    assert set(REASONS) == set(get_args(Reason))
    assert set(BY) == set(get_args(Estimator))
    assert percent_text(result_of([NON_TUMOUR])) == "not evaluable: too little tumour"


def test_every_code_of_a_warning_has_short_words() -> None:
    """Codes are the first argument of each warning that the package makes, of slides, too, and the names of checks."""
    calls = [
        node
        for path in (ROOT / "wsi_necrosis").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", "") in {"ResultWarning", "SlideWarning"}
        and node.args
    ]
    codes = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert codes | {EXPORT_FAILED, *SAID} == set(SHORT)


def test_a_number_is_said_with_how_it_was_found() -> None:
    cells = [(0.0, 0.4, 0.6), (0.0, 1.0, 0.0)]
    soft, hard = result_of(cells, KNOWN, estimator="soft"), result_of(cells, KNOWN)
    assert (percent_text(soft), estimators_text(soft)) == ("30.0 % viable", "by probability; 50.0 % by class")
    assert (percent_text(hard), estimators_text(hard)) == ("50.0 % viable", "by class; 30.0 % by probability")
    assert class_areas(soft) == pytest.approx({"non_tumour": 0, "non_viable": 2.8, "viable": 1.2}, abs=1e-6)
    assert class_areas(hard) == pytest.approx({"non_tumour": 0, "non_viable": 2.0, "viable": 2.0})


def test_what_was_not_found_is_said_as_such() -> None:
    assert percent_text(result_of([NON_VIABLE], KNOWN)) == "none found (limit of blank 38 %)"
    assert percent_text(result_of([NON_VIABLE])) == "none found (limit of blank not known)"
    soft = result_of([NON_VIABLE], KNOWN, estimator="soft")  # whose limit is not known
    assert percent_text(soft) == "none found (limit of blank not known)"
    assert percent_text(result_of([VIABLE], KNOWN)) == "no non-viable tumour found"


def test_limits_are_said_in_a_sentence() -> None:
    found, unknown = result_of([VIABLE], KNOWN), result_of([VIABLE])
    assert found["limit_of_blank_text"] == (
        "on cases without viable tumour this model reads 21 % (2 cases); up to 38 % cannot be told from none"
    )
    assert found["limit_of_full_text"].endswith("reads 88 % (3 cases); 70 % and more cannot be told from all")
    assert unknown["limit_of_blank_text"] == limit_of_blank_text(None)
    assert limit_of_blank_text(None).endswith("cases without viable tumour is not known")
    assert limit_of_full_text(None).endswith("is all viable is not known")


def test_an_interval_is_said_with_its_target() -> None:
    interval = {"low": 10.04, "high": 40.0, "confidence": 0.95, "target": "T2", "covers_classifier": True}
    assert interval_text({"interval": interval}) == "10.0 to 40.0 % (95 %, T2)"
    alone = interval | {"covers_classifier": False}
    assert interval_text({"interval": alone}).startswith(
        "of sampling alone, without classifier error: 10.0 to"
    )
    assert interval_text(result_of([VIABLE, NON_VIABLE])) == "not available (too little tissue)"
    assert interval_text(result_of([NON_VIABLE])).startswith("not available (no viable cell")


def test_warnings_are_said_with_their_code_and_in_short() -> None:
    result = {
        "warnings": [{"code": "model_notice", "text": "a demo"}, {"code": "undecided", "text": "a guess"}]
    }
    assert warning_lines(result) == ["warning (model_notice): a demo", "warning (undecided): a guess"]
    assert short_warnings(result) == "Warnings: undecided"
    assert short_warnings({"warnings": result["warnings"][:1]}) == ""
