"""From scores to areas, a percentage with its interval, and a heatmap."""
