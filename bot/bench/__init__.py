"""`parley bench`: compares Parley with the alternatives in one run, on the same weights."""
