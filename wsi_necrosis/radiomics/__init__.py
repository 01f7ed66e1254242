"""Numbers that describe a tile's stain, texture and nuclei."""
