"""The demo model: Gemma 3 270M from a package registry with Parley's own small chat adapter."""
