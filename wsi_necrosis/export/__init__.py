"""Files that other programs open: OME-Zarr, GeoJSON, pictures, tables."""
