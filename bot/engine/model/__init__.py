"""Loads the model, runs it for one step, samples its logits."""
