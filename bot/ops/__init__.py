"""Logging, health, and `parley doctor`."""
