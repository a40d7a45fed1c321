"""What several adapters need, each rule once."""
