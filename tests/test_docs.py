import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "MODEL_CARD.md",
    "docs/architecture.md",
    "docs/cluster.md",
    "docs/radiomics.md",
    "docs/scale.md",
    "docs/training.md",
    "benchmarks/RESULTS.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_and_no_blank_is_left(page: str) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    assert re.findall(r"@[A-Z0-9]+@", text) == []


def test_the_readme_names_every_command_and_exit_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("run", "bench", "demo", "info", "config", "train"):
        assert f"wsi-necrosis {command}" in text
    for code in ("0 done", "1 failure", "2 usage", "130 interrupted"):
        assert code in text
