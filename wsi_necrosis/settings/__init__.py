"""Settings: their schema, and how files and options are laid over one another."""
