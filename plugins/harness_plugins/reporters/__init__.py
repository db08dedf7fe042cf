"""Built-in reporters, one thing per file."""
