"""Percent viable from a few cells that a person labels."""
