"""The scores of each cell of a slide, kept on disk."""
