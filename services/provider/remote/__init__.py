"""The way out to providers; the only room with a network library."""
