"""From an experiment file or flags to a plan of identified runs. No side effects, no torch."""
