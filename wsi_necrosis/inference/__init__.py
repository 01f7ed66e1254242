"""Score a slide's blocks on workers."""
