"""Shared pieces of schema text: filter and page arguments, descriptions, connection types."""

from graphql.language.block_string import print_block_string

FILTERS = """\
    "The first day, in UTC; six days before `endDate` where it is not given."
    startDate: Date
    "The last day, in UTC; where it is not given today, or `startDate` if that is later."
    endDate: Date
    "Only these events."
    events: [AiUsageEventType!]
    "Only events of these features."
    features: [AiUsageFeature!]
    "Without these events."
    not: AiUsageExclusion
    "Only events of these users."
    userIds: [ID!]
    "Only events of these projects. Events without a project are of none."
    projectIds: [ID!]
    "Only events whose payload passes all of these."
    payload: [PayloadFilter!]
"""

PAGE = """\
    "How many to return, from the beginning or after a cursor: 100 where it is not given, at most 1,000."
    first: Int
    "Only what comes after this cursor."
    after: String
    "How many to return, from the end or before a cursor."
    last: Int
    "Only what comes before this cursor."
    before: String
"""


USE_ONLY = """\
Events of features that do not count as use, like those of seats, count only where `events` or `features` names them.\
"""
"""A sentence in the descriptions of all figures of use."""


def description(text: str) -> str:
    """`text` as a description in the schema; empty for an empty text."""
    return f"{print_block_string(text)}\n" if text else ""


def deprecated(reason: str) -> str:
    """The directive that marks a field or value as deprecated; empty without a reason.

    >>> deprecated("Use `id`.")
    ' @deprecated(reason: "Use `id`.")'
    """
    return f' @deprecated(reason: "{reason}")' if reason else ""


def implementing(*interfaces: str) -> str:
    """The clause that says which interfaces a type has; empty for none."""
    return f" implements {' & '.join(interfaces)}" if interfaces else ""


def order_value(name: str) -> str:
    """The enum value of an order, like `TOTAL_COUNT_ASC`, with its description."""
    by, _, direction = name.rpartition("_")
    first = "least" if direction == "ASC" else "greatest"
    return f"{description(f'By {by.lower().replace("_", " ")}, the {first} first.')}{name}"


def connection(node_type: str, nodes: str) -> str:
    """The schema text of a connection type and its edge type.

    Args:
        nodes: plural of the nodes, for descriptions, like `events of chat`.
    """
    return f"""\
"A page of {nodes}."
type {node_type}Connection {{
  "The {nodes} on the page."
  nodes: [{node_type}!]!
  "The same, each with its cursor."
  edges: [{node_type}Edge!]!
  "Whether there are further pages, and where this one begins and ends."
  pageInfo: PageInfo!
  "How many there are on all pages."
  count: Long!
}}

"One of the {nodes}, and where it is in the connection."
type {node_type}Edge {{
  "What is there."
  node: {node_type}!
  "Names the place, for `after` and `before`."
  cursor: String!
}}
"""


def field_of_both(suffix: str, about: str, arguments: str, result: str) -> str:
    """The schema text of a field of `Namespace`, like `aiUsage`, and of its twin of `Query`, like `aiInstanceUsage`.

    Args:
        about: what the field answers; `{where}` stands for the place whose events it is about, `{use_only}` for the
            sentence on what counts.
    """
    places = (
        ("Namespace", "ai", "the group and of all below it, or of the project"),
        ("Query", "aiInstance", "everything that the token may read"),
    )
    return "\n".join(
        f"""\
extend type {parent} {{
{description(about.format(where=f"the events of {place}", use_only=USE_ONLY))}{prefix}{suffix}(
{arguments}): {result}
}}
"""
        for parent, prefix, place in places
    )
