"""The in-process batcher: many conversations, one forward pass; knows nothing of chat."""
