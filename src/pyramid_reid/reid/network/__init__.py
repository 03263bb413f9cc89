"""OSNet, and what it takes in."""
