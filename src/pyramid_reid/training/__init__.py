"""Shared by both trainings: checkpoints, several processes, live curves, weights from elsewhere."""
