"""The kit: what every service of the mesh stands on. It imports no service."""
