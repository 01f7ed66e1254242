"""Optical density, its separation into stains, and how colours are normalised and augmented."""
