"""Measures of the provider service, beside named peers."""
