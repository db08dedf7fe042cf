"""Run a plan: examine the data, search settings, hand the missing runs to an executor, notify the observers."""
