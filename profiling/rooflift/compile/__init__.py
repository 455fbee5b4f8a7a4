"""Kernels compiled with Triton for any GPU, without one."""
