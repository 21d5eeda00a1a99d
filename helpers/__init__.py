"""Code that the notebooks of One Block, Two Names import."""
