"""The results of a slide as an object and as pages, and the files that are made of them again."""
