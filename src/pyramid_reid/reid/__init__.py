"""From crops to features: OSNet, its training, and feature extraction."""
