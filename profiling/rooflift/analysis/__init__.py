"""Arithmetic on frames."""
