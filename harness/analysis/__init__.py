"""Stored runs become the numbers of a comparison. Needs numpy, never torch; writes no text for a table."""
