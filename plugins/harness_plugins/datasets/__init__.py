"""Built-in datasets, one thing per file."""
