"""The data sets: one module per layout on disk, what can be fetched, and the drawn set."""
