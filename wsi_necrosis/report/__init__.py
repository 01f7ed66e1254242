"""What people read of a slide."""
