"""Training of OSNet: batches, augmentation, pretrained starts, the loop."""
