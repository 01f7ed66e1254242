"""Analyse many slides: find them, skip what is done, go on after failures, and keep a record."""
