"""The data sets: one module per layout on disk, the registry, downloads, and the synthetic set.

To add a data set, see docs/code.md.
"""
