"""Open a slide and read its pixels at a resolution."""
