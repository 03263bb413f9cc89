"""The commands `index`, `restore` and `optimize` on the machines of a Ray cluster.

Needs the extra `cluster`. Ray starts, feeds and replaces the processes; nothing here schedules.
"""
