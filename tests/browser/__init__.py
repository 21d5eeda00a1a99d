"""What a reader meets, in a real browser: JupyterLab, the book, the slides."""
