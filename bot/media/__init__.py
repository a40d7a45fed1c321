"""Pictures: sniff, decode within limits, normalise."""
