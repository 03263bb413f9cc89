"""Re-identification: OSNet, its training and its features."""
