"""Labelled tiles, and splits that never share a case."""
