"""Adapters: the only code that knows a platform's SDK."""
