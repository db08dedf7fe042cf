"""Fast paths: faster equivalent implementations for a CPU and one process.

Each fast path is checked against the plain implementation; `train.fast = false` disables all.

    dropout     masks drawn with one random number per four elements
    attention   short texts with plain matrix products
    rows        unused embedding rows are skipped in every step
    prefix      frozen lower layers run once per text
    splice      caching of their outputs

If a check fails, the run's notes say so and the plain implementation is used.
"""
