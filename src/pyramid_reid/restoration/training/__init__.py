"""Training of the reconstructor, and the quality of its images."""
