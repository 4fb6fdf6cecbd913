"""Recipes beside their sources: `python -m experiments.recipes --check`."""
