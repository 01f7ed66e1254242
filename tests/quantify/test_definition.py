from __future__ import annotations

import pytest

from wsi_necrosis.quantify.definition import definition


@pytest.mark.parametrize("bed", [None, "region", "hull"])
@pytest.mark.parametrize("outlined", [(), ("roi",), ("tissue",), ("roi", "tissue")])
def test_the_definition_says_what_counts(bed: str | None, outlined: tuple[str, ...]) -> None:
    found = definition("soft", bed, outlined)  # type: ignore[arg-type]
    assert set(found) == {"denominator", "tissue", "estimator", "target"}
    assert ("bed" in found["denominator"]) == (bed is not None)
    assert ("outlined by a person" in found["tissue"]) == ("tissue" in outlined)
    assert ("region of interest" in found["tissue"]) == ("roi" in outlined)
    assert "probabilities" in found["estimator"]
