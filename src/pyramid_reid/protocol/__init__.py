"""From a raw set to crops: identity splits, roles, low resolution, checks, and the data card."""
