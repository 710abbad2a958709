"""Connects Dify's API server with difylog.

The package runs inside Dify. It publishes each snapshot of a workflow run or node execution as a native event, reads
logs back over difylog's HTTP API, and offers commands for the migration of existing rows. Importing this module alone
does nothing: it is imported when Python starts, before any monkey patching.
"""

__version__ = "0.1.0"
