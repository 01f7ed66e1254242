import pytest

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.labels import KNOWN, LABELS, MIXED_LABEL, truth_of


@pytest.mark.parametrize("mixed", ["exclude", "soft", "viable", "nonviable"])
def test_plain_labels_are_certain_whatever_becomes_of_mixed_ones(mixed) -> None:
    for label, at in LABELS.items():
        assert truth_of(label, mixed) == tuple(float(at == other) for other in range(3))


def test_both_spellings_stand_for_the_same_class() -> None:
    spelled = {
        name: label for label, name in zip(("Non-Tumor", "Non-Viable-Tumor", "Viable"), CLASSES, strict=True)
    }
    assert all(LABELS[name] == LABELS[label] for name, label in spelled.items())
    assert set(KNOWN) == {*spelled, *spelled.values(), "viable: non-viable"}


def test_mixed_tiles_go_where_the_policy_says() -> None:
    assert truth_of(MIXED_LABEL, "exclude") is None
    assert truth_of(MIXED_LABEL, "soft") == (0, 0.5, 0.5)
    assert truth_of(MIXED_LABEL, "viable") == (0, 0, 1)
    assert truth_of(MIXED_LABEL, "nonviable") == (0, 1, 0)
