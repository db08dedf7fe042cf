"""Built-in trackers, one thing per file."""
