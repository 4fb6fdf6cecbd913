"""Reads data sets and makes batches, pure functions of (seed, step)."""
