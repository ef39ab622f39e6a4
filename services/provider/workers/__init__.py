"""Threads and what runs in them: the embedding model, and fits to outcomes."""
