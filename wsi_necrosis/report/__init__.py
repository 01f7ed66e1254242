"""The results of a slide, for notebooks and scripts."""
