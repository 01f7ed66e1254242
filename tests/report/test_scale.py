from wsi_necrosis.report.scale import scale_of


def test_a_slide_that_is_not_evaluable_has_no_number() -> None:
    result = {"status": "not_evaluable", "percent_viable": 3.0, "interval": None}
    scale = scale_of({**result, "limit_of_blank": {"limit": 17.0}, "limit_of_full": None})
    assert (scale.number, scale.low, scale.blank, scale.full) == (None, None, 17.0, None)
    assert scale.alt == "no number; up to 17 cannot be told from none"


def test_an_interval_is_drawn_where_it_covers_classifier_error() -> None:
    known = {"status": "scored", "percent_viable": 30.0, "limit_of_blank": None, "limit_of_full": None}
    interval = {"low": 20.04, "high": 41.0, "covers_classifier": True}
    assert scale_of({**known, "interval": interval}).alt == "30.0 percent viable, interval 20.0 to 41.0"
    sampling = scale_of({**known, "interval": {**interval, "covers_classifier": False}})
    assert (sampling.alt, sampling.low) == ("30.0 percent viable", None)
