"""Judge a model on labelled tiles, and write what is found."""
