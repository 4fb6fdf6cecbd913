"""Readers of data sets: raw files, downloads, prepared TFDS folders."""
