"""Reads the descriptions of events and payloads from the comments and docstrings of definitions, for the schema."""

import ast
import inspect
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import zip_longest
from typing import Self

import msgspec

from functions.shared.catalog.feature import Feature
from functions.shared.catalog.payload import Payload

_REGISTERING = ("events", "deprecated_events")
_FOR_TOOLS = re.compile(r"#\W*(noqa|nosec|type: ignore|fmt:|ruff:|mypy:|pragma:|pylint:|pyright:).*")


class _Source(msgspec.Struct, frozen=True):
    """Descriptions in a module: of the events that it registers, by name, and of the fields of its classes."""

    events: Mapping[str, str] = msgspec.field(default_factory=dict)
    fields: Mapping[tuple[str, str], str] = msgspec.field(default_factory=dict)


class Descriptions:
    """Descriptions in the definition of a feature; empty texts where the definition has none.

    Where its source can't be had, as in a package of compiled modules, it says what its docstrings do.
    """

    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._sources: dict[str, _Source] = {}

    @classmethod
    @cache
    def of(cls, feature: Feature) -> Self:
        """The descriptions in the definition of `feature`, whose source is read once."""
        return cls(feature)

    def event(self, name: str) -> str:
        """The comment at the event, else the summary of the definition's module."""
        return self._source(self._feature.module).events.get(name) or _summary(self._feature.description)

    def payload_class(self, payload_class: type[msgspec.Struct]) -> str:
        """The docstring of the class."""
        return inspect.cleandoc(payload_class.__doc__ or "")

    def key(self, payload_class: type[msgspec.Struct], key: str) -> str:
        """The description of the field for a payload key, and where events have the key if it has a source."""
        declared = payload_class.declared_sources() if issubclass(payload_class, Payload) else {}
        sent_as = f"Sent as `{'.'.join(declared[key].path)}`." if key in declared else ""
        return " ".join(filter(None, (self._said(payload_class, key), sent_as)))

    def _said(self, payload_class: type[msgspec.Struct], key: str) -> str:
        """The description of the key in its class, or in the base class that declares the field."""
        names = dict(zip(payload_class.__struct_encode_fields__, payload_class.__struct_fields__, strict=True))
        for owner in payload_class.__mro__:
            if owner in (Payload, msgspec.Struct):
                break
            if said := self._source(owner.__module__).fields.get((owner.__qualname__, names[key])):
                return said
        return ""

    def _source(self, module: str) -> _Source:
        if module not in self._sources:
            self._sources[module] = _source_of(module)
        return self._sources[module]


class _Comments:
    """The comments of a source, by where they are."""

    def __init__(self, text: str) -> None:
        lines = text.split("\n")
        self._beside: dict[int, str] = {}
        self._alone: dict[int, str] = {}
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                line, column = token.start
                where = self._beside if lines[line - 1][:column].strip() else self._alone
                where[line] = _FOR_TOOLS.sub("", token.string).lstrip("#:").strip()

    def at(self, first_line: int, last_line: int) -> str:
        """The comment beside the end of the lines, else what the lines right above them say."""
        if beside := self._beside.get(last_line):
            return beside
        above: list[str] = []
        while (line := first_line - 1 - len(above)) in self._alone:
            above.append(self._alone[line])
        return "\n".join(reversed(above)).strip()


def _source_of(module: str) -> _Source:
    try:
        text = inspect.getsource(sys.modules[module])
        tree = ast.parse(text)
        comments = _Comments(text)
    except (KeyError, TypeError, OSError, SyntaxError, tokenize.TokenError):
        return _Source()
    return _Source(dict(_events(tree, comments)), dict(_fields(tree, comments)))


def _events(tree: ast.Module, comments: _Comments) -> Iterator[tuple[str, str]]:
    """Name and comment of each event that the module registers."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in _REGISTERING:
            for event in call.keywords:
                if event.arg:
                    yield event.arg, comments.at(event.lineno, event.end_lineno or event.lineno)


def _fields(
    within: ast.Module | ast.ClassDef, comments: _Comments, prefix: str = ""
) -> Iterator[tuple[tuple[str, str], str]]:
    """Class, name and description of the fields of each class, also of those within a class."""
    for defined in within.body:
        if isinstance(defined, ast.ClassDef):
            yield from _fields(defined, comments, f"{prefix}{defined.name}.")
            for statement, following in zip_longest(defined.body, defined.body[1:]):
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    said = _string(following) or comments.at(statement.lineno, statement.end_lineno or statement.lineno)
                    yield (f"{prefix}{defined.name}", statement.target.id), said


def _string(statement: ast.stmt | None) -> str:
    """The text of a statement that is nothing but a string."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        text = statement.value.value
        return inspect.cleandoc(text) if isinstance(text, str) else ""
    return ""


def _summary(text: str) -> str:
    """The first paragraph, in one line."""
    return " ".join(text.partition("\n\n")[0].split())
