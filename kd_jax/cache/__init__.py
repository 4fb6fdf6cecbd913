"""Stored outputs of frozen teachers: what is stored, in which form, where."""
