"""Files people send: fetched within limits, and read in processes that may die without harm."""
