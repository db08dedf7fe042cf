"""What is made of a tuned model for use elsewhere: written, described, loaded again, and held against what was measured.

write      a model in memory ──► a folder that the libraries' own loaders open
manifest   harness.json: what the folder is, and the sha256 of every file
card       README.md: what it is for, how good it is, how to load it
load       a folder ──► answers, by the libraries' own loaders alone
rescore    in a fresh process: do these answers equal the stored predictions?
transform  a folder ──► its adapter merged, its weights in another precision, its graph as ONNX
"""
