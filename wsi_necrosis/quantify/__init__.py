"""What the scores add up to: areas, a percentage and its interval, and a heatmap."""
