"""Pyramid-resolution person restoration for cross-resolution person re-identification."""
