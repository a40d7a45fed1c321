"""What only a CUDA device runs."""
