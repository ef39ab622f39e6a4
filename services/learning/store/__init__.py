"""Every SQL statement of the learning service, each a named function."""
