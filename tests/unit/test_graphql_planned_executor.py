import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ariadne import InterfaceType, ObjectType, ScalarType, make_executable_schema
from graphql import ExecutionResult, Executor, GraphQLResolveInfo, Undefined, execute, execute_sync, parse, validate
from hypothesis import given
from hypothesis import strategies as st

from functions.graphql.planned_executor import PlannedExecutor

SCHEMA = """
    directive @disableErrorPropagation on QUERY

    scalar Even

    enum Size { SMALL LARGE }

    interface Animal {
        id: ID!
        fullName: String
        size: Size!
        friend: Animal
        friends(first: Int = 2, names: [String!]): [Animal!]!
    }

    type Cat implements Animal {
        id: ID!
        fullName: String
        size: Size!
        friend: Animal
        friends(first: Int = 2, names: [String!]): [Animal!]!
        lives: Even
        owner: Person!
        ownersName: String
    }

    type Dog implements Animal {
        id: ID!
        fullName: String
        size: Size!
        friend: Animal
        friends(first: Int = 2, names: [String!]): [Animal!]!
        tricks: [[String!]]
        owner: Person
    }

    type Person {
        name: String!
        broken: Int
        brokenForSure: Int!
        called(times: Int): Int
        returned: Int
        home: Home
    }

    type Home { street: String, strict: String! }

    union Being = Cat | Dog | Person

    type Query {
        animals: [Animal]
        cats: [Cat!]
        beings: [Being!]
        person(limit: Int): Person
        plain: [Home]
    }
"""


@dataclass
class Person:
    name: str | None
    home: Any = None
    returned: Any = field(default_factory=lambda: ValueError("returned, not raised"))

    @property
    def broken(self) -> int:
        raise ValueError(f"{self.name} has no number")

    broken_for_sure = broken

    def called(self, info: GraphQLResolveInfo[Any], times: int | None = 1) -> str:
        return str(len(info.path.as_list()) * (times or 0))


@dataclass
class Animal:
    kind: str
    id: Any
    full_name: Any
    size: Any = "SMALL"
    lives: Any = 8
    owner: Any = None
    tricks: Any = None
    friend: Any = None


@dataclass
class Query:
    cats: Any


@dataclass
class Home:
    street: Any
    strict: Any = "yes"


HOMELESS = Person("Bob", 7)
ADA, NAMELESS = Person("Ada", Home("Long Street")), Person(None, Home(["no", "text"], None))
CAT = Animal("Cat", 1, "Tom", owner=ADA)
DOG = Animal("Dog", "2", None, "LARGE", owner=NAMELESS, tricks=[["sit"], None, ["run", None]], friend=CAT)
ODD = Animal("Cat", None, lambda _: "made by a call", "HUGE", lives=Undefined, owner=None, friend=DOG)
STRANGE = Animal("Fish", 4, ValueError("a name that is an error"))
ANIMALS = [
    CAT,
    DOG,
    ODD,
    Animal("Cat", 5, Undefined, lives=7, owner=HOMELESS),
    None,
    STRANGE,
    ValueError("an animal that is an error"),
    CAT,
]

query_type = ObjectType("Query")
query_type.set_field("animals", lambda *_: ANIMALS)
query_type.set_field("cats", lambda *_: [CAT, Animal("Cat", 5, lambda _: "made by a call", owner=NAMELESS), CAT])
query_type.set_field("beings", lambda *_: [DOG, ADA, CAT, NAMELESS, HOMELESS])
query_type.set_field("person", lambda *_, limit=None: NAMELESS if limit else ADA)
query_type.set_field("plain", lambda *_: [{"street": "of a dict", "strict": "yes"}, Home("of an object"), 7])


def friends(animal: Animal, info: GraphQLResolveInfo[Any], first: int, names: Sequence[str] | None = None) -> Any:
    known = [other for other in (CAT, DOG) if other is not animal and (names is None or other.full_name in names)]
    return known[:first] if first >= 0 else ValueError(f"{info.path.as_list()}: fewer than none")


def even(value: int) -> int | None:
    if value % 2:
        raise ValueError(f"{value} is odd")
    return value or None


def type_of(value: Any, *_: Any) -> str:
    return getattr(value, "kind", "Person")


cat_type, dog_type = ObjectType("Cat"), ObjectType("Dog")
cat_type.set_alias("ownersName", "owner.name")
for animal_type in (cat_type, dog_type):
    animal_type.set_field("friends", friends)

schema = make_executable_schema(
    SCHEMA,
    query_type,
    cat_type,
    dog_type,
    InterfaceType("Animal", type_of),
    ScalarType("Even", serializer=even),
    convert_names_case=True,
)
schema.type_map["Being"].resolve_type = type_of  # type: ignore[attr-defined]
schema.type_map["Home"].is_type_of = lambda value, _: value != 7  # type: ignore[attr-defined]

LEAVES = {
    "Animal": ("id", "fullName", "size", "__typename"),
    "Cat": ("id", "fullName", "size", "lives", "ownersName", "__typename"),
    "Dog": ("id", "fullName", "size", "tricks", "__typename"),
    "Person": (
        "name",
        "broken",
        "brokenForSure",
        "called",
        "called(times: $number)",
        "called(times: 3)",
        "returned",
        "__typename",
    ),
    "Home": ("street", "strict", "__typename"),
    "Being": ("__typename",),
    "Query": ("__typename",),
}
BRANCHES = {
    "Animal": {
        "friend": "Animal",
        "friends": "Animal",
        "friends(first: $number)": "Animal",
        'friends(names: ["Tom"])': "Animal",
        "... on Cat": "Cat",
        "... on Dog": "Dog",
        "...": "Animal",
    },
    "Cat": {"friend": "Animal", "friends": "Animal", "owner": "Person", "... on Animal": "Animal"},
    "Dog": {"friend": "Animal", "friends(first: 1)": "Animal", "owner": "Person", "... on Animal": "Animal"},
    "Person": {"home": "Home", "... on Person": "Person"},
    "Home": {"... on Home": "Home"},
    "Being": {"... on Animal": "Animal", "... on Person": "Person", "... on Cat": "Cat"},
    "Query": {
        "animals": "Animal",
        "cats": "Cat",
        "beings": "Being",
        "person": "Person",
        "person(limit: $number)": "Person",
        "plain": "Home",
    },
}
DIRECTIVES = ("", "", "", " @include(if: $yes)", " @include(if: $no)", " @skip(if: $yes)", " @skip(if: false)")
HEADS = ("query", "query @disableErrorPropagation")
FRAGMENTS = """
    fragment animal on Animal { id kind: __typename ...cat ... on Dog { tricks keeper: owner { name } } }
    fragment cat on Cat { lives owner { home { strict } } }
"""


@st.composite
def selections(draw: st.DrawFn, type_name: str = "Query", depth: int = 4) -> str:
    """Draws a selection of the type's fields, some with aliases, with directives or in fragments."""
    names = st.sampled_from([*LEAVES[type_name], *(BRANCHES[type_name] if depth else ())])
    chosen = draw(st.lists(names, min_size=1, max_size=5))
    shown = []
    for name in chosen:
        alias = "" if name.startswith("...") else draw(st.sampled_from(["", "", "a: ", "b: "]))
        below = BRANCHES[type_name].get(name)
        inner = f" {{ {draw(selections(below, depth - 1))} }}" if below else ""
        shown.append(f"{alias}{name}{draw(st.sampled_from(DIRECTIVES))}{inner}")
    return " ".join(shown)


def both(query: str, **variables: Any) -> tuple[ExecutionResult, ExecutionResult]:
    """Returns the answers of graphql-core and of the planned executor."""
    document = parse(query)
    first, second = (
        execute_sync(schema, document, variable_values=variables, executor_class=executor)
        for executor in (None, PlannedExecutor)
    )
    return first, second


def shown(result: ExecutionResult) -> Any:
    """Returns the whole answer, with the order of fields and errors, and the causes of the errors."""
    errors = [(error.formatted, repr(error.original_error)) for error in result.errors or ()]
    return repr(result.data), errors


@pytest.mark.parametrize(
    "query",
    [
        "{ animals { id fullName size } }",
        "{ animals { __typename a: id b: id friends { friends(first: 1) { id } } } }",
        "{ cats { lives owner { name } ownersName } }",
        "{ cats { id } }",
        "{ beings { ... on Animal { id ... on Dog { tricks } } ... on Person { name home { street strict } } } }",
        "{ person(limit: 1) { broken called returned home { street } } }",
        "{ person { brokenForSure } animals { size } }",
        "{ plain { street strict } }",
        "{ animals { friends(first: -1) { id } } }",
        "query @disableErrorPropagation { cats { id owner { name brokenForSure } } }",
        "{ __schema { types { name fields { name type { name ofType { name } } } } } __typename }",
        '{ __type(name: "Cat") { fields { name args { name defaultValue } } } }',
        "{ animals { friends(first: 1, unknown: 2) { id } unknown } }",
    ],
)
def test_the_answer_is_that_of_graphql_core(query: str) -> None:
    ordinary, planned = both(query)
    assert shown(planned) == shown(ordinary)


@given(
    st.sampled_from(HEADS),
    selections(),
    st.booleans(),
    st.one_of(st.none(), st.integers(-1, 2)),
)
def test_any_selection_is_answered_as_graphql_core_does(
    head: str, selection: str, spreads: bool, number: int | None
) -> None:
    spread = " animals { ...animal } cats { ...cat }" if spreads else ""
    variables = "($yes: Boolean! = true, $no: Boolean! = false, $number: Int)"
    query = f"{head.replace('query', f'query {variables}')} {{ {selection}{spread} }} {FRAGMENTS}"
    # Also what validation would refuse, like one name for two fields, has to be answered alike.
    ordinary, planned = both(query, number=number)
    assert shown(planned) == shown(ordinary)


def test_the_queries_that_the_comparison_is_made_of_are_valid() -> None:
    assert validate(schema, parse("{ animals { ...animal } cats { ...cat } }" + FRAGMENTS)) == []


def test_the_fields_of_a_list_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    get_field = schema.get_field

    def counted(parent: Any, name: str) -> Any:
        looked_up.append(name)
        return get_field(parent, name)

    monkeypatch.setattr(schema, "get_field", counted)
    planned = execute_sync(schema, parse("{ cats { fullName lives } }"), executor_class=PlannedExecutor)
    assert planned.errors is None
    assert looked_up == ["cats", "fullName", "lives"]


def test_where_a_resolver_may_be_asynchronous_nothing_is_planned() -> None:
    async def answer(executor: type[Executor[Any]] | None) -> Any:
        cats = [Animal("Cat", 1, name_later), CAT]
        document = parse("{ cats { id fullName } }")
        return await execute(later, document, Query(cats), executor_class=executor)  # type: ignore[misc]

    async def name_later(_: GraphQLResolveInfo[Any]) -> str:
        await asyncio.sleep(0)
        return "Tom"

    later = make_executable_schema(SCHEMA, convert_names_case=True)
    ordinary, planned = (asyncio.run(answer(executor)) for executor in (None, PlannedExecutor))
    assert planned.data["cats"][0]["fullName"] == "Tom"
    assert shown(planned) == shown(ordinary)


def test_where_resolvers_are_wrapped_nothing_is_planned() -> None:
    def wrapped(resolve: Any, source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        return "wrapped" if info.field_name == "fullName" else resolve(source, info, **arguments)

    document = parse("{ cats { id fullName } }")
    planned = execute_sync(schema, document, middleware=[wrapped], executor_class=PlannedExecutor)
    assert planned.data
    assert {cat["fullName"] for cat in planned.data["cats"]} == {"wrapped"}
