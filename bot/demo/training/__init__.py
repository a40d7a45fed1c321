"""The training data and training loop of the demo's chat adapter."""
