"""The drawn set: people of boxes and tubes, seen by two cameras."""
