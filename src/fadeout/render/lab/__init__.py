"""render.lab: the lab as the reader meets it, in a terminal, as a table of claims, and as a book."""
