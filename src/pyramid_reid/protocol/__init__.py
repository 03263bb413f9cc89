"""From a raw set to crops: identity splits, roles, low resolution, checks, and the data card.

`of_sets` has the protocol of each set; `roles` decides which crops are queries and gallery.
"""
