"""Retrieval: distances, their fusion, and what is read off them. NumPy only."""
