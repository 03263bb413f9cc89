"""The recorded experiments on real crops: what is kept of each, and what they say together."""
