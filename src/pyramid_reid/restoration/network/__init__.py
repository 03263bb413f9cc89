"""The reconstructor: an extractor (`swinir`, `han`) and a head per scale (`reconstructor`)."""
