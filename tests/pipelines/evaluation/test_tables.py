from wsi_necrosis.pipelines.evaluation.tables import markdown, mean_percent, percent, pm


def test_tables_and_spreads_are_markdown() -> None:
    assert markdown(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert pm({"mean": 0.1239, "sd": 0.02}, 2) == "0.12 +- 0.02"
    assert pm(None, 2) == "-"


def test_percentages_are_words_where_there_is_no_tumour() -> None:
    assert (percent(49.6), percent(None)) == ("50 %", "no tumour")
    assert (mean_percent({"mean": 12.34, "sd": 1}), mean_percent(None)) == ("12.3 %", "-")
