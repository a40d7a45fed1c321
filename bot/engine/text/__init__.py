"""Between messages and token ids; free of torch."""
