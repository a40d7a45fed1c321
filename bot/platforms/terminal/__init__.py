"""`parley chat`: the terminal as a platform."""
