"""Bounded comparisons with named peers; each program prints one table with ratios from one run."""
