"""Looks for what would keep a mesh from running well here: each finding says what it means and what to do."""
