"""The database: SQLAlchemy models and repositories."""
