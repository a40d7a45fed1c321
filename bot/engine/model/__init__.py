"""The model: loaded, run for one step, sampled."""
