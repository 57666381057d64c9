"""Tables of limits and thresholds that users meet, and of all constants whose names begin with `MAX_`."""

import ast
import inspect
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

from functions.ingest.publisher.limits import Limits
from infra.docs.markdown import code, table

ROOT = Path(__file__).parents[2]

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.FloorDiv: operator.floordiv,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.Sub: operator.sub,
}

_CONTRACT = "functions/ingest/contract.py"
_QUERY_LIMITS = "functions/graphql/limits.py"
_FILTERS = "functions/graphql/types/filters.py"
_ARGUMENTS = "functions/graphql/types/arguments.py"
_PAGE = "functions/graphql/types/event_plan.py"
_PAGE_BYTES = "functions/graphql/query/page_bytes.py"
_BUDGET = "functions/graphql/query/budget.py"
_SLOTS = "functions/graphql/query/slots.py"
_CLICKHOUSE = "functions/graphql/clickhouse/store.py"
_GRANT = "functions/shared/grant.py"
_PAYLOAD = "functions/shared/catalog/payload.py"

_WHOLE_BODY = "HTTPS answers 413. A queue message goes to `rejected_events` as `too_large`"
_QUERY = "GraphQL answers with an error that names the limit"

# What is limited, where its constant is, the constant, and what happens beyond it.
LIMITS: Mapping[str, tuple[tuple[str, str, str, str], ...]] = {
    "Sending events": (
        ("Events in one request or queue message", _CONTRACT, "MAX_EVENTS", _WHOLE_BODY),
        ("A body, unpacked", "functions/ingest/formats/compression.py", "MAX_UNPACKED_BYTES", _WHOLE_BODY),
        ("One event as JSON", _CONTRACT, "MAX_EVENT_BYTES", "`too_large`"),
        (
            "One message that the ingest function writes",
            _CONTRACT,
            "MAX_MESSAGE_BYTES",
            "A request becomes several messages",
        ),
        (
            "SNS and EventBridge envelopes around one body",
            "functions/ingest/formats/table.py",
            "_MAX_ENVELOPES",
            "The inner envelope is read as an event",
        ),
        (
            "A username or full path, in UTF-8",
            "functions/ingest/event/attributes.py",
            "_MAX_TEXT_BYTES",
            "`invalid_user`, `invalid_namespace` or `invalid_project`",
        ),
    ),
    "Payloads": (
        ("A payload as JSON", _PAYLOAD, "MAX_PAYLOAD_BYTES", "`payload_too_large`"),
        ("Levels of objects and arrays", _PAYLOAD, "MAX_DEPTH", "`too_deep`"),
        (
            "Keys that no definition declares",
            "functions/ingest/undeclared.py",
            "MAX_UNDECLARED_KEYS",
            "`too_many_keys`",
        ),
        (
            "The id of an event in a definition",
            "functions/shared/catalog/feature.py",
            "MAX_EVENT_ID",
            "`DefinitionError`",
        ),
        ("Characters of a metric's unit", "functions/shared/catalog/metric.py", "MAX_UNIT", "`DefinitionError`"),
    ),
    "Tokens": (
        ("Characters of a token", "functions/shared/auth.py", "MAX_TOKEN_CHARACTERS", "401"),
        ("Namespaces in a token", _GRANT, "_MAX_NAMESPACES", "401"),
        ("Scopes in a token", _GRANT, "_MAX_SCOPES", "401"),
        (
            "Secrets that sign tokens, while one replaces the other",
            "functions/shared/signing_secrets.py",
            "MAX_SECRETS",
            "The functions do not start, or keep those that they have",
        ),
        (
            "The list of revoked tokens",
            "functions/shared/revocations.py",
            "MAX_LIST_BYTES",
            "`usage-events token revoke` fails",
        ),
    ),
    "A GraphQL request": (
        ("The body of a request", _QUERY_LIMITS, "MAX_BODY_BYTES", _QUERY),
        ("Characters of a query", _QUERY_LIMITS, "MAX_LENGTH", _QUERY),
        ("Tokens of a query", _QUERY_LIMITS, "MAX_TOKENS", _QUERY),
        ("Fields within fields", _QUERY_LIMITS, "MAX_DEPTH", _QUERY),
        ("Levels, fragments included", _QUERY_LIMITS, "MAX_NESTING", _QUERY),
        ("Fields as written", _QUERY_LIMITS, "MAX_FIELDS", _QUERY),
        ("Fields after fragments are expanded", _QUERY_LIMITS, "MAX_EXPANDED_FIELDS", _QUERY),
        ("Aliases", _QUERY_LIMITS, "MAX_ALIASES", _QUERY),
        ("Directives", _QUERY_LIMITS, "MAX_DIRECTIVES", _QUERY),
        ("Digits of a whole number", _QUERY_LIMITS, "MAX_DIGITS", _QUERY),
        ("Fields `__schema` and `__type`", _QUERY_LIMITS, "MAX_INTROSPECTIONS", _QUERY),
        ("Values of one list among the variables", _QUERY_LIMITS, "MAX_LIST", _QUERY),
        ("Characters of one text among the variables", _QUERY_LIMITS, "MAX_TEXT", _QUERY),
        ("Nodes and rows that one query asks for", _BUDGET, "MAX_NODES", _QUERY),
        ("Seconds that one query takes", _BUDGET, "MAX_SECONDS", _QUERY),
        ("The answer", _BUDGET, "MAX_ANSWER_BYTES", _QUERY),
        ("Payloads that a store reads for one page", _PAGE_BYTES, "MAX_PAGE_BYTES", _QUERY),
    ),
    "Arguments of GraphQL fields": (
        ("`first` and `last`", _ARGUMENTS, "MAX_PAGE_SIZE", _QUERY),
        ("`userIds`", _ARGUMENTS, "MAX_USER_IDS", _QUERY),
        ("`projectIds`", _ARGUMENTS, "MAX_PROJECT_IDS", _QUERY),
        ("Filters in one `payload`", _FILTERS, "MAX_FILTERS", _QUERY),
        ("Values of one `in`", _FILTERS, "MAX_VALUES", _QUERY),
        ("Strings of one `in`, together", _FILTERS, "MAX_STRING_BYTES", _QUERY),
        ("Steps of all paths in one `payload` filter", _FILTERS, "MAX_STEPS", _QUERY),
        ("Characters of a path", "functions/graphql/query/path.py", "MAX_PATH_CHARACTERS", _QUERY),
        ("Paths of one `payload(paths:)`", _PAGE, "MAX_PAYLOAD_PATHS", _QUERY),
        ("Steps of all paths of a page", _PAGE, "MAX_PAGE_STEPS", _QUERY),
        ("`measures`", "functions/graphql/types/usage_measures.py", "MAX_MEASURES", _QUERY),
        ("Conditions in `having`", "functions/graphql/types/usage_measures.py", "MAX_HAVING", _QUERY),
        ("Paths in `payloadGroupBy`", "functions/graphql/types/usage.py", "MAX_GROUP_PATHS", _QUERY),
        (
            "Values in a list of distinct values",
            "functions/shared/catalog/metric.py",
            "MAX_DISTINCT",
            "The list holds the first values in their order",
        ),
    ),
    "Tenants": (
        (
            "Periods of senders that an instance of the ingest function counts in",
            "functions/ingest/limiter.py",
            "MAX_COUNTED_PERIODS",
            "The instance asks the shared counter anew",
        ),
        (
            "Characters of a message's group",
            "functions/shared/tenant.py",
            "MAX_GROUP_CHARACTERS",
            "A hash, or no group",
        ),
    ),
    "Queries at the same time": (
        ("Statements of one tenant", _SLOTS, "MAX_TENANT_QUERIES", "Further statements wait"),
        ("Statements of one token for `*`", _SLOTS, "MAX_INSTANCE_QUERIES", "Further statements wait"),
        ("Seconds that a statement waits", _SLOTS, "MAX_WAIT_SECONDS", _QUERY),
        ("Threads of one query on ClickHouse", _CLICKHOUSE, "MAX_THREADS", "The query uses no more"),
        ("Memory of one query on ClickHouse", _CLICKHOUSE, "MAX_MEMORY_BYTES", _QUERY),
        ("Disk that one query on ClickHouse spills to", _CLICKHOUSE, "MAX_SPILLED_BYTES", _QUERY),
    ),
    "Stores": (
        (
            "Payload paths with files of their own in a part of ClickHouse's table",
            "functions/shared/clickhouse.py",
            "MAX_DYNAMIC_PATHS",
            "Further paths share files",
        ),
        (
            "Rows that ClickHouse refuses in one sync",
            "functions/sync/sync.py",
            "MAX_REFUSALS",
            "The sync fails: the table is at fault, not the rows",
        ),
        (
            "Projects, or namespaces, for which one tenant states the same full path",
            "functions/ingest/directory/subjects.py",
            "MAX_SUBJECTS_PER_FULL_PATH",
            "The oldest of these statements are deleted",
        ),
    ),
}


_VERDICT = "functions/retention/contract/verdict.py"

# What is judged, where its constant is, the constant, and what it decides.
THRESHOLDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "Days before, with which a day is compared",
        _VERDICT,
        "DAYS_BEFORE",
        "A share is compared with the lowest of them",
    ),
    (
        "Events of a type on a day, at least",
        _VERDICT,
        "MIN_EVENTS",
        "A day with fewer is not judged, and no other day is compared with it",
    ),
    (
        "Days before with so many events, at least",
        _VERDICT,
        "MIN_DAYS",
        "With fewer, neither the event nor its keys are judged",
    ),
    (
        "Events that should carry a key by the lowest share, at least",
        _VERDICT,
        "MIN_EXPECTED",
        "With fewer, the key is not judged",
    ),
    ("Part of the lowest share", _VERDICT, "FALLEN_BELOW", "A key fell only if its share is below"),
    (
        "Standard deviations below the lowest share",
        _VERDICT,
        "DEVIATIONS",
        "A key fell only if its share is below, so that chance alone raises no alarm",
    ),
    (
        "Seconds that each statement of the comparison takes, at most",
        "functions/retention/handler.py",
        "CONTRACT_SECONDS",
        "Beyond it, the day is not compared, and `ContractFailures` counts it",
    ),
)


def thresholds() -> str:
    """Returns a table of the thresholds by which the contract watch judges."""
    rows = [[what, shown(constant(path, name), name), decides] for what, path, name, decides in THRESHOLDS]
    return table(["what", "value", "what it decides"], rows)


def limits() -> str:
    """Returns a table for each group of limits that users meet."""
    parts = []
    for title, rows in LIMITS.items():
        cells = [[what, shown(constant(path, name), name), beyond] for what, path, name, beyond in rows]
        parts.append(f"### {title}\n\n{table(['what', 'at most', 'beyond it'], cells)}")
    return "\n".join(parts)


def constants_table() -> str:
    """Returns a table of every public constant of the functions whose name begins with `MAX_`."""
    rows = [
        [code(name), shown(value, name), code(path)]
        for path in sorted(str(file.relative_to(ROOT)) for file in (ROOT / "functions").rglob("*.py"))
        for name, value in _constants(path).items()
        if name.startswith("MAX_")
    ]
    return table(["constant", "value", "module"], rows)


def publisher_limits() -> str:
    """Returns a table of the publisher's limits, which a program may change."""
    described = _arguments(inspect.cleandoc(Limits.__doc__ or ""))
    rows = [[code(one.name), f"{one.default:,}", described[one.name]] for one in fields(Limits)]
    return table(["limit", "default", "what it is"], rows)


def constant(path: str, name: str) -> float:
    """Returns the number that a module assigns to a constant.

    Args:
        path: of the module, from the root of the checkout.

    Raises:
        KeyError: the module has no such constant.
    """
    constants = _constants(path)
    if name not in constants:
        raise KeyError(f"{path} has no number {name}: name the limit's constant in infra/docs/limits.py")
    return constants[name]


def shown(value: float, name: str) -> str:
    """Writes a value in the unit that ends the name of its constant.

    >>> shown(65536, "MAX_EVENT_BYTES"), shown(10_000, "MAX_EVENTS")
    ('64 KiB', '10,000')
    """
    if name.endswith(("_BYTES", "_BYTES_BEFORE_SPILL")):
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size and value % size == 0:
                return f"{value // size:,} {unit}"
        return f"{value:,} bytes"
    return f"{value:g} s" if name.endswith("_SECONDS") else f"{value:,}"


@cache
def _constants(path: str) -> Mapping[str, float]:
    """Yields the numeric constants of a module, in order."""
    found: dict[str, float] = {}
    for statement in ast.parse((ROOT / path).read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            value = _number(statement.value, found)
            if value is not None:
                found[statement.targets[0].id] = value
    return found


def _number(expression: ast.expr, known: Mapping[str, float]) -> float | None:
    """Returns the value of an expression of numbers and known constants; None for any other expression."""
    match expression:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return known.get(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            first, second = _number(left, known), _number(right, known)
            return None if first is None or second is None else _OPERATORS[type(op)](first, second)
    return None


def _arguments(docstring: str) -> dict[str, str]:
    """Returns the description of each argument in the section `Args` of a docstring."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    return dict(_argument_lines(section))


def _argument_lines(section: str) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"\n(?= {4}\w)", section):
        name, _, text = " ".join(entry.split()).partition(": ")
        yield name, text
