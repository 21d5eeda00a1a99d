"""What turns the notebooks into a book, slides and handouts; none of the content."""
