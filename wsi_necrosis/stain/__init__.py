"""Optical density, its stains, and how they are changed."""
