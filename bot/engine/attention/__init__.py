"""The contract between the model runner and the backends, and the portable backend."""
