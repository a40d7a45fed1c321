"""The commands: their registry, how they are typed, what each does and says."""
