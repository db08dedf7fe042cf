"""The built-in plugins. They are found through entry points like any other plugin, and --without excludes each."""
