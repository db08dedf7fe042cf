"""Built-in tasks, one thing per file."""
