"""Peers: systems that we did not write, run for real at the far end of a test."""
