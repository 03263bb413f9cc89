"""Distances, fusion, ranking metrics, re-ranking, uncertainty: NumPy alone."""
