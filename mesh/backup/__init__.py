"""Backups of all data of a mesh, taken while it runs and consistent over all its services; and the way back."""
