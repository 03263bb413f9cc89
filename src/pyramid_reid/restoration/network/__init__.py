"""The reconstructor: an extractor (HAN or SwinIR) and three heads."""
