"""Built-in metrics, one thing per file."""
