"""Parses statements with the engine itself, and refuses forbidden ones."""

import re
from collections.abc import Callable
from typing import NamedTuple

from infra.local.clickhouse.literals import quoted
from infra.local.clickhouse.rights import TABLE_ENGINES

ACCESS_DENIED, SYNTAX_ERROR, NOT_IMPLEMENTED = 497, 62, 48

# Functions that touch files, the network or Python and that the engine's rights don't cover, or check too late.
_REFUSED_FUNCTIONS = re.compile(
    r"""
    (?:file|url|s3|gcs|oss|cosn|hdfs|remote|azureblobstorage|cluster|clusterallreplicas)(?:secure|cluster)?
    | (?:deltalake|iceberg|hudi|paimon)\w*
    | mysql|postgresql|mongodb|redis|sqlite|odbc|jdbc|bigquery|ytsaurus|arrowflight|arrowstream|filesystem
    | executable|python|eval|disk|catboostevaluate
    """,
    re.IGNORECASE | re.VERBOSE,
)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_CALLED = re.compile(r"(\w+)\(")
_ENGINE = re.compile(r"\bENGINE = (\w+)")
_PASSED_ON = re.compile(r"\bAPPLY[ (](\w+)|\barray\w+\((\w+),")  # a function passed to another function
_CLIENTS_FILE = re.compile(r"\b(INTO OUTFILE|FROM INFILE) '")
_INSERT_INSIDE = re.compile(r"(?<!\A)\bINSERT INTO\b")
_INSERT = re.compile(r"(INSERT INTO .+?)( SETTINGS .+)? FORMAT (\w+)", re.DOTALL)
_QUERY = re.compile(r"\b(?:SELECT|WITH)\b")
_BEFORE_ROWS = re.compile(r"\b(?:VALUES|FORMAT\s+\w+)\b", re.IGNORECASE)
_AFTER_FORMAT = re.compile(r"[ \t\r]*;?[ \t\r]*\n?")
_WRONG_PLACE = re.compile(r": In scope SELECT formatQuerySingleLine\(.*", re.DOTALL)

Ask = Callable[[str], str]
"""Runs a statement on the engine and returns the answer; raises the engine's errors."""


class Refused(Exception):
    """The statement is refused; the message has ClickHouse's form."""

    def __init__(self, code: int, reason: str, name: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {reason} ({name})")


class Insert(NamedTuple):
    """An insert whose rows are sent separately, as printed by the engine."""

    target: str
    settings: str
    format: str

    def from_file(self, path: str) -> str:
        """Returns the statement that inserts the rows of the file."""
        return f"{self.target} FROM INFILE {quoted(path)}{self.settings} FORMAT {self.format}"


def parse(statement: str, ask: Ask) -> str:
    """Parses a single statement; returns it as printed by the engine, in one line without comments.

    Raises:
        Refused: the text is not exactly one statement.
    """
    if "\0" in statement:
        raise Refused(SYNTAX_ERROR, "Syntax error: the statement holds a zero byte.", "SYNTAX_ERROR")
    try:
        return ask(f"SELECT formatQuerySingleLine({quoted(statement)})")
    except Exception as error:
        reason = _WRONG_PLACE.sub("", str(error)).partition("DB::Exception: ")[2] or str(error)
        raise Refused(SYNTAX_ERROR, reason, "SYNTAX_ERROR") from error


def require_allowed(printed: str) -> None:
    """Checks that a statement printed by `parse` names no file, address or Python object.

    Raises:
        Refused: the statement names one, or contains a nested insert.
    """
    bare = _LITERAL.sub(_empty_literal, printed)
    for pattern in (_CALLED, _PASSED_ON):
        for match in pattern.finditer(bare):
            name = match[match.lastindex or 0]
            if _REFUSED_FUNCTIONS.fullmatch(name):
                raise Refused(ACCESS_DENIED, f"The local ClickHouse does not allow {name}().", "ACCESS_DENIED")
    if not printed.startswith(("SELECT", "WITH", "INSERT")):
        for engine in _ENGINE.findall(bare):
            if engine not in TABLE_ENGINES:
                raise Refused(
                    ACCESS_DENIED, f"The local ClickHouse does not allow the engine {engine}.", "ACCESS_DENIED"
                )
    if _INSERT_INSIDE.search(bare):  # rows may follow it, and text after rows is not parsed here
        raise Refused(NOT_IMPLEMENTED, "An INSERT inside another statement is not supported.", "NOT_IMPLEMENTED")
    if clause := _CLIENTS_FILE.search(bare):
        raise Refused(ACCESS_DENIED, f"The local ClickHouse does not allow {clause[1]}.", "ACCESS_DENIED")


def leaves_session(printed: str) -> bool:
    """Whether a statement printed by `parse` only reads or inserts; another may set something for its session."""
    return printed.startswith(("SELECT", "WITH", "INSERT"))


def parse_insert(printed: str) -> Insert | None:
    """Parses a printed insert without rows; returns None for any other statement.

    Raises:
        Refused: this form of insert is not supported.
    """
    masked = _LITERAL.sub(lambda literal: "_" * len(literal[0]), printed)
    found = _INSERT.fullmatch(masked)
    if found is None:
        return None
    if _QUERY.search(found[1]):
        raise Refused(NOT_IMPLEMENTED, "A query in an INSERT takes no rows and no FORMAT here.", "NOT_IMPLEMENTED")
    target, settings, name = (printed[slice(*found.span(group))] for group in (1, 2, 3))
    return Insert(target, settings, name)


def inline_rows(statement: str, printed: str, ask: Ask) -> str:
    """Returns the rows after an insert in its own text: all after the shortest prefix that parses to the same insert.

    Raises:
        Refused: the start of the rows can't be found.
    """
    for end in (match.end() for match in _BEFORE_ROWS.finditer(statement)):
        try:
            if parse(statement[:end], ask) == printed:
                return _AFTER_FORMAT.sub("", statement[end:], count=1)
        except Refused:
            continue
    raise Refused(SYNTAX_ERROR, "Syntax error: write VALUES or FORMAT and its name without comments.", "SYNTAX_ERROR")


def _empty_literal(literal: re.Match[str]) -> str:
    """Empties a quoted text; unquotes a quoted name that is a plain word."""
    text = literal[0]
    return text[1:-1] if text[0] != "'" and re.fullmatch(r"\w+", text[1:-1]) else text[0] * 2
