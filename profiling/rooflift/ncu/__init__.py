"""Nsight Compute: the metric registry, its command line, and its reports."""
