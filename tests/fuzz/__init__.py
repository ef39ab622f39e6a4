"""Generated traffic: whatever a caller sends, the mesh answers in time, in one shape, and stands."""
