"""The use: a model folder, features of new crops, and a gallery that is searched."""
