"""Compiled loops for CPUs; each has a reference in torch."""
