"""The repositories that Dify is told to use: subclasses of its SQLAlchemy ones, which do what only PostgreSQL can."""

from difylog_dify.patches import patch_imported

# Where no `.pth` file was read, as with PYTHONPATH, this is the first that Dify imports of the package.
patch_imported()
