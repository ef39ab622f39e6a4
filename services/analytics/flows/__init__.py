"""Work that takes several steps of store and domain: the upkeep of the buckets, the reading of an overview."""
