"""Compute the numbers of a comparison from stored runs. Needs numpy but not torch; does not format tables."""
