"""Cached outputs of frozen teachers: plan, encoding, shards, store."""
