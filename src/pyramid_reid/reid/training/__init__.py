"""Training of OSNet: batches, augmentation, pretrained weights, the loop."""
