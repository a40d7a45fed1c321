"""Parley's own kernels for CPUs."""
