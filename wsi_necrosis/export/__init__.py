"""Files that other programs open: OME-Zarr, OME-TIFF, GeoJSON, annotations, pictures, tables."""
