"""What was found in each cell of a slide, kept on disk."""
