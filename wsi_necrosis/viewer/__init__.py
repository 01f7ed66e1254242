"""A local page on which a person looks at slides with their results, and labels cells."""
