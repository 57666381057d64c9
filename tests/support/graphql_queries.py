"""Random queries for any GraphQL schema."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_required_argument,
    is_required_input_field,
)

# Microseconds since 1970, as cursors hold them: of 0001, 1800, 1970, 2500 and 9999, and of no year at all.
ODD_MOMENTS = (
    -(2**63),
    -62_135_596_800_000_000,
    -5_364_662_400_000_000,
    0,
    16_725_225_600_000_000,
    253_402_300_799_999_999,
)

ODD_TEXTS = (
    '"job.id"',
    'a"; DROP TABLE users; --',
    "'; DROP TABLE users; --",
    "' OR '1'='1",
    "1) UNION ALL select version(), 1 --",
    "pg_sleep(20)",
    "`id`",
    "payload.x",
    "payload.^x.:Int64",
    "{x:Identifier}",
    "{limit:UInt32}",
    "%(limit)s",
    "%(x)s",
    "%s",
    "%",
    "{}",
    "{0}",
    "${}",
    "$1",
    "\\",
    "\\'",
    '\\"',
    "a[0].b",
    "a[99999999999999999999]",
    "a[-1]",
    "a..b",
    ".",
    "[",
    "",
    " ",
    "\0",
    "a\0b",
    "\n\r\t\x1b\x7f",
    "\u202e\u0000",
    "\ufeff\uffff\U0010ffff",
    "é" * 300,
    "a." * 600,
    "x" * 5000,
    "9" * 400,
    "-1",
    "1e999",
    "null",
    "27/28",
    "27/../28/",
    "*",
    *(base64.b64encode(moment.to_bytes(8, signed=True) + bytes(16)).decode() for moment in ODD_MOMENTS),
)
PLAIN_TEXTS = ("1", "2", "27/28/", "gitlab-org", "job.id", "project_id", "tags[0]")
ODD_NUMBERS = (
    0,
    -1,
    1001,
    2**31 - 1,
    -(2**31),
    2**31,
    2**63,
    2**64 - 1,
    2**64,
    -(2**70),
    10**300,
    0.1,
    -0.0,
    1e308,
    5e-324,
)
ODD_DATES = ("0001-01-01", "9999-12-31", "2026-02-30", "20261120", "2026-W01-1", "2026-11-20T00:00:00Z", "today")

type Way = tuple[tuple[str, GraphQLField | None], ...]


class Name(str):
    """The name of an enum value, which queries write without quotes."""

    __slots__ = ()


def ways(schema: GraphQLSchema) -> list[Way]:
    """Returns a way from the root to every field of every type, made of fields and type conditions."""
    query = schema.query_type
    assert query
    found: list[Way] = []
    reached: dict[str, Way] = {query.name: ()}
    pending: list[GraphQLNamedType] = [query]
    for type_ in pending:
        way = reached[type_.name]
        steps: list[tuple[str, GraphQLField | None, GraphQLNamedType]] = []
        if isinstance(type_, GraphQLInterfaceType):
            steps += [(f"... on {possible.name}", None, possible) for possible in schema.get_possible_types(type_)]
        if isinstance(type_, GraphQLInterfaceType | GraphQLObjectType):
            steps += [(name, field, get_named_type(field.type)) for name, field in type_.fields.items()]
        for name, step, target in steps:
            found.append((*way, (name, step)))
            if target.name not in reached:
                reached[target.name] = found[-1]
                pending.append(target)
    return found


@dataclass
class QueryMaker:
    """Makes one query, with usual or unusual arguments.

    Attributes:
        fitting: usual values by the name of the argument or input field; one of them is used. Names without
            values are left out.
    """

    schema: GraphQLSchema
    chance: Random
    odd: bool = False
    fitting: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    _declared: list[str] = field(default_factory=list)
    _inputs: int = 0  # input objects around the value being made

    def along(self, way: Way) -> dict[str, Any]:
        """Returns a query for the last field of the way, with all its arguments."""
        name, last = way[-1]
        text = self._field(name, last, all_arguments=True)
        for name, step in reversed(way[:-1]):
            text = f"{name}{self._arguments(step, everything=False)} {{ {text} }}"
        return self._whole(text)

    def any(self, depth: int = 8) -> dict[str, Any]:
        """Returns a query for a few of the fields."""
        assert self.schema.query_type
        return self._whole(self._selection(self.schema.query_type, depth))

    def _whole(self, selection: str) -> dict[str, Any]:
        declared = f"query q({', '.join(self._declared)})" if self._declared else "query q"
        return {"query": f"{declared} {{ {selection} }}", "variables": self.variables}

    def _selection(self, type_: GraphQLNamedType, depth: int) -> str:
        """Returns some fields of a type; only `__typename` at the greatest depth."""
        if isinstance(type_, GraphQLInterfaceType) and self.chance.random() < 0.5:
            possible = self.chance.choice(self.schema.get_possible_types(type_))
            return f"__typename ... on {possible.name} {{ {self._selection(possible, depth)} }}"
        if not isinstance(type_, GraphQLInterfaceType | GraphQLObjectType) or depth == 0:
            return "__typename"
        names = self.chance.sample(sorted(type_.fields), min(len(type_.fields), self.chance.randint(1, 4)))
        return " ".join(
            f"a{number}: {self._field(name, type_.fields[name], depth=depth - 1)}" for number, name in enumerate(names)
        )

    def _field(self, name: str, field: GraphQLField | None, *, depth: int = 1, all_arguments: bool = False) -> str:
        type_ = get_named_type(field.type) if field else None
        text = name + self._arguments(field, everything=all_arguments)
        if type_ is None or isinstance(type_, GraphQLInterfaceType | GraphQLObjectType):
            text += f" {{ {self._selection(type_, depth) if type_ else '__typename'} }}"
        return text

    def _arguments(self, field: GraphQLField | None, *, everything: bool) -> str:
        given = []
        for name, argument in field.args.items() if field else ():
            if self._is_given(name, is_required_argument(argument), 1 if everything else 0.3):
                value = self._named_value(name, argument.type)
                given.append(f"{name}: {self._variable(argument.type, value)}")
        return f"({', '.join(given)})" if given else ""

    def _variable(self, type_: GraphQLInputType, value: Any) -> str:
        """Returns the value as a variable or a literal."""
        if self.chance.random() < 0.4:
            return literal(value)
        name = f"v{len(self.variables)}"
        self.variables[name] = value
        self._declared.append(f"${name}: {type_}")
        return f"${name}"

    def _is_given(self, name: str, is_required: bool, probability: float) -> bool:
        return bool(self.fitting.get(name, True)) and (is_required or self.chance.random() < probability)

    def _named_value(self, name: str, type_: GraphQLInputType) -> Any:
        """Returns a value for the argument or input field of this name."""
        return self.chance.choice(self.fitting[name]) if name in self.fitting else self.value(type_)

    def value(self, type_: GraphQLInputType) -> Any:
        """A value of the type."""
        if isinstance(type_, GraphQLNonNull):
            return self.value(type_.of_type)
        if self.odd and self.chance.random() < 0.05:
            return None
        if isinstance(type_, GraphQLList):
            return [self.value(type_.of_type) for _ in range(self.chance.randint(0, 3))]
        if isinstance(type_, GraphQLEnumType):
            return Name(self.chance.choice(sorted(type_.values)))
        if isinstance(type_, GraphQLInputObjectType):
            return self._input(type_)
        return self._scalar(type_.name)

    def _input(self, type_: GraphQLInputObjectType) -> dict[str, Any]:
        """Returns an input object; those within others have few fields, because some types contain themselves."""
        self._inputs += 1
        made = {
            name: self._named_value(name, field.type)
            for name, field in type_.fields.items()
            if self._is_given(name, is_required_input_field(field), 0.4 / self._inputs**2)
        }
        self._inputs -= 1
        return made

    def _scalar(self, name: str) -> Any:
        chance = self.chance
        match name:
            case "Int" | "Float":
                return chance.choice(ODD_NUMBERS) if self.odd else chance.randint(1, 10)
            case "Boolean":
                return chance.random() < 0.5
            case "Date":
                return chance.choice(ODD_DATES) if self.odd else f"2026-11-{chance.randint(10, 28)}"
            case "JSON":
                return self.json()
        return chance.choice(ODD_TEXTS) if self.odd else chance.choice(PLAIN_TEXTS)

    def json(self, depth: int = 3) -> Any:
        """Any JSON value."""
        texts, numbers = (ODD_TEXTS, ODD_NUMBERS) if self.odd else (PLAIN_TEXTS, range(10))
        match self.chance.randint(0, 5 if depth and self.odd else 3):
            case 0:
                return self.chance.choice(texts)
            case 1:
                return self.chance.choice(numbers)
            case 2:
                return self.chance.random() < 0.5
            case 3:
                return None if self.odd else 1.5
            case 4:
                return [self.json(depth - 1) for _ in range(self.chance.randint(0, 3))]
        return {self.chance.choice(texts): self.json(depth - 1) for _ in range(self.chance.randint(0, 3))}


def literal(value: Any) -> str:
    """Writes a value as a GraphQL literal; keys of objects are not checked."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {literal(item)}' for name, item in value.items())}}}"
    return json.dumps(value)


def tokens(text: str) -> Iterator[str]:
    """Returns approximate tokens of a query."""
    word = ""
    for character in text:
        if character.isalnum() or character in "_$.":
            word += character
            continue
        if word:
            yield word
        word = ""
        if not character.isspace():
            yield character
    if word:
        yield word
