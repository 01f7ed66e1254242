"""A checkpoint that scores tiles."""
