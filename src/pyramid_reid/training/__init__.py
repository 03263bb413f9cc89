"""What both trainings share: checkpoints, several processes, live curves, foreign weights."""
