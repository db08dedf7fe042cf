"""Built-in models, one thing per file."""
