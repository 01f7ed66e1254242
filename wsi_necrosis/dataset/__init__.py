"""Labelled tiles, splits that never share a case, and manifests of slides."""
