"""Jobs: what a person asks for on a day."""
