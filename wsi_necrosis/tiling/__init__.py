"""From a slide to tiles: tissue, grid, and blocks of tiles."""
