"""The services of the mesh: each a house of its own with the same rooms."""
