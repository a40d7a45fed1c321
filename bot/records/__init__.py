"""Plain records that an adapter keeps in the database; they import nothing else of Parley."""
