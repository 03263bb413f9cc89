"""Faster training of OSNet on a CPU; each function has a reference in torch."""
