"""Training of the reconstructor, and how good a restoration is."""
