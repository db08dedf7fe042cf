"""Computation of runs; the only part that imports torch.

launch (a process per run) ─► worker ─► execute (one run) ─► train, evaluate, features ─► store
"""
