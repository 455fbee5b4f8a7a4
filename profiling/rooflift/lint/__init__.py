"""The static check of a candidate."""
