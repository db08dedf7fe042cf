"""Computed to read: stored runs become scores, forgetting, intervals and a table. Needs numpy, never torch."""
