"""Built-in executors, one thing per file."""
