"""Health, metrics, logging, doctor."""
