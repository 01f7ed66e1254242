"""Agreement of predictions with labels."""
