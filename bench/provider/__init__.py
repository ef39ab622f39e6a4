"""Programs that measure the provider service beside named peers."""
