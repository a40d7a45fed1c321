"""Files people send: downloaded within limits and read in separate processes that may crash."""
