"""The error of a sync that can't continue."""


class SyncError(Exception):
    """The sync can't continue; the message says why. The cursor stays after the last confirmed chunk."""
