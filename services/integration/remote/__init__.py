"""The way out to other systems; the only room with a network library."""
