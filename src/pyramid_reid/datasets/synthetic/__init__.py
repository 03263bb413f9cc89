"""The synthetic set: people made of boxes and tubes, seen by two cameras."""
