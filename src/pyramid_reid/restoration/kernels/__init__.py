"""Compiled loops for CPUs, each with a twin in torch."""
