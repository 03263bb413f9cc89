"""Distances, fusion, ranking metrics, re-ranking, uncertainty; NumPy only.

Ties are resolved in `metrics`; only `distance`, `fusion` and `rerank` compute or change distances,
and `camera_mean` features.
"""
