from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.pipelines.evaluation.wrapping import WIDTH, wrapped

WORDS = st.lists(st.text("abcdefg,.%", min_size=1, max_size=20), min_size=1, max_size=60)


@given(st.sampled_from(["", "- ", "  "]), WORDS)
def test_no_word_is_lost_and_no_line_is_long(start: str, words: list[str]) -> None:
    text = start + " ".join(words) + "\n"
    page = wrapped(text)
    assert page.split() == text.split()
    assert max(map(len, page.splitlines())) <= WIDTH
    assert wrapped(page) == page


def test_items_hang_and_tables_headings_and_code_stay() -> None:
    long = "word " * 30 + "end"
    kept = f"| {long} |\n# {long}\n```\n{long}\n```\n"
    assert wrapped(kept) == kept
    first, second = wrapped(f"- {long}\n").splitlines()
    assert first.startswith("- word")
    assert second.startswith("  word")
