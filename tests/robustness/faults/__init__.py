"""Faults, one file each: what is done to the bus, its publishers, its consumers and its disk."""
