"""Restoration: feature extractor E, pyramid heads RC, their training and their use."""
