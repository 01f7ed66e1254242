"""Fit a tile model, and judge it on cases that it has not seen."""
