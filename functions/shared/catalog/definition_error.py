"""`DefinitionError`: what is wrong with a definition."""


class DefinitionError(Exception):
    """An invalid definition; the message names the files at fault."""
