"""`ExportError`: why an export was not finished."""


class ExportError(Exception):
    """The export is not finished, and its file was not written; the message says why."""
