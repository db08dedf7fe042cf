"""Recommend an arm from the numbers of a comparison, with reasons."""
