"""The toy platform's adapter: all that a new platform has to bring, at its smallest."""
