"""Converts names of definitions to GraphQL's spelling, and checks names."""

import re

_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")


def is_graphql_name(name: str) -> bool:
    """Whether `name` is a GraphQL name that is not reserved for introspection (`__…`).

    >>> is_graphql_name("chat"), is_graphql_name("2fast"), is_graphql_name("__type")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and not name.startswith("__")


def is_field_name(name: str) -> bool:
    """Whether a definition may declare a field `name`: a GraphQL name that begins in lower case."""
    return is_graphql_name(name) and name[0].islower()


def camel_case(name: str) -> str:
    """`name` in camelCase.

    >>> camel_case("code_suggestions")
    'codeSuggestions'
    """
    first, *rest = name.split("_")
    return first + "".join(map(_capitalised, rest))


def pascal_case(name: str) -> str:
    """`name` in PascalCase.

    >>> pascal_case("code_suggestions")
    'CodeSuggestions'
    """
    return "".join(map(_capitalised, name.split("_")))


def enum_value(name: str) -> str:
    """The enum value of the feature or event `name`.

    >>> enum_value("code_suggestions")
    'CODE_SUGGESTIONS'
    """
    return name.upper()


def upper_snake_case(name: str) -> str:
    """`name` in UPPER_SNAKE_CASE.

    >>> upper_snake_case("code_suggestions_shownCount")
    'CODE_SUGGESTIONS_SHOWN_COUNT'
    """
    return _CAPITAL.sub(r"_\g<0>", name).upper()


def event_count_field(event_name: str) -> str:
    """Name of the metric that counts the event.

    >>> event_count_field("troubleshoot_job")
    'troubleshootJobEventCount'
    """
    return f"{camel_case(event_name)}EventCount"


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]
