"""`parley bench`: Parley beside what people would pick instead, in one run, on the same weights."""
