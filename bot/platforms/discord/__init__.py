"""Discord: the adapter between its gateway and the core."""
