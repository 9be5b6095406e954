"""Elements of other people's collections: rows and tables, as blocks and back."""
