"""Shared by all stages: params, errors, the crop store, progress, pictures and tables."""
