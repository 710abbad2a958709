"""The repositories that Dify is told to use: subclasses of its SQLAlchemy ones, which do what only PostgreSQL can."""
