"""Built-in strategies, one thing per file."""
