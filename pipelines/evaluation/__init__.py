"""Evaluate a model on labelled tiles: figures, comparison with variants, plots and model card."""
