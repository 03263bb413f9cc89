"""From a raw set to crops: identity splits, roles, low resolution, checks, and the data card.

`presets` names the protocol of each set; `roles` decides which crops are queries and gallery.
"""
