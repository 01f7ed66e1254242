import pytest
from pydantic import TypeAdapter, ValidationError

from wsi_necrosis.settings.schema import Count, Fraction, NotNegative, Positive, Section, Seed, Seeds


class Tray(Section):
    slots: Count


def test_a_section_is_frozen_and_refuses_unknown_keys() -> None:
    tray = Tray(slots=2)
    with pytest.raises(ValidationError, match="frozen"):
        tray.slots = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        Tray.model_validate({"slots": 2, "lid": True})


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Positive, 0.1, 0), (NotNegative, 0, -0.1), (Fraction, 1, 1.1), (Fraction, 0, -0.1), (Count, 1, 0),
        (Seed, 0, -1), (Seeds, (1, 2), ()), (Seeds, (0,), (-1,)),
    ],
)  # fmt: skip
def test_numbers_keep_to_their_range(kind: object, good: object, bad: object) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(good) == good
    with pytest.raises(ValidationError):
        adapter.validate_python(bad)


def test_a_seed_stands_once() -> None:
    with pytest.raises(ValidationError, match="a seed stands twice"):
        TypeAdapter(Seeds).validate_python((1, 2, 1))
