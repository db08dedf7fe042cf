"""Run this plan: look at the data, choose settings, hand the missing runs to an executor, tell the observers."""
