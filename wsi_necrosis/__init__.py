"""Percent viable tumour on whole-slide images, with the areas behind it."""
