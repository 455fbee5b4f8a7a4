"""Figures: functions from data to a matplotlib Figure."""
