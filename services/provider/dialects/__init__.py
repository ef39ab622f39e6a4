"""Wire formats of providers, read and written without I/O."""
