"""The error of a missing or malformed setting."""


class SettingError(Exception):
    """A setting is missing or malformed; the message names it."""
