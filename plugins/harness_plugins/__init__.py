"""The built-in plugins. They have no privileges: found through entry points, each can be left out with --without."""
