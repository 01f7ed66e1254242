"""Fit a tile model, and evaluate it on cases that it was not trained on."""
