"""The three classes of tumour tissue, in the order of every probability array."""

from __future__ import annotations

CLASSES = ("non_tumour", "non_viable", "viable")
NON_TUMOUR, NON_VIABLE, VIABLE = range(3)
TITLES = ("Non-tumour", "Non-viable tumour", "Viable tumour")
