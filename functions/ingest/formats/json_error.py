"""Says in plain words why a body or an event can't be read."""

import re

import msgspec

from functions.ingest.formats.surrogates import holds_half_a_pair

_NAMES = {
    "array": "an array",
    "bool": "a boolean",
    "datetime": "a time",
    "float": "a number",
    "int": "an integer",
    "null": "null",
    "object": "an object",
    "str": "a string",
    "uuid": "a UUID",
}
_TYPES = re.compile(r"`((?:{0})(?: \| (?:{0}))*)`".format("|".join(_NAMES)))
_MISSING = re.compile(r"Object missing required field `(.*?)`")


def reason(error: Exception, text: bytes = b"") -> str:
    """Returns what is wrong with a text that a decoder refused.

    Args:
        text: the refused text, if its strings may be at fault.

    >>> reason(msgspec.ValidationError("Expected `int | null`, got `str`"))
    'Expected an integer or null, got a string'
    """
    if isinstance(error, UnicodeError):
        return "a string is not UTF-8"
    if isinstance(error, RecursionError):
        return "objects and arrays are nested too deep"
    if not isinstance(error, msgspec.ValidationError) and holds_half_a_pair(text):
        return "a string holds half a surrogate pair"
    missing = _MISSING.sub(r"the key \1 is missing", str(error))
    return _TYPES.sub(lambda types: " or ".join(_NAMES[name] for name in types[1].split(" | ")), missing)
