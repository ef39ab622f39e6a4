"""What tests share: a whole mesh as a newcomer starts it, and the ways to ask it."""
