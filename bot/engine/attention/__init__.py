"""The seam between the model runner and what computes attention."""
