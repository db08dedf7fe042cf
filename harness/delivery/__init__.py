"""Delivery of tuned models: writing, describing, loading, and comparing with the stored predictions.

write      a model in memory ──► a folder that the libraries' own loaders can open
manifest   harness.json: description of the folder, and the sha256 of every file
card       README.md: use, scores and loading
load       a folder ──► predictions, with the libraries' own loaders only
rescore    comparison of these predictions with the stored ones, in a new process
transform  a folder ──► merged adapter, weights in another precision, ONNX graph
"""
