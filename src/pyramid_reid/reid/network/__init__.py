"""OSNet and its input."""
