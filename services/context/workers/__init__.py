"""Processes that parse files, apart from the service."""
