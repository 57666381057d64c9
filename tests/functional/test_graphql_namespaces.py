"""`namespaces`: finds groups by a part of their full path."""

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import ask, request

NAMESPACES = "query ($search: String, $first: Int) { namespaces(search: $search, first: $first) { path fullPath } }"
STORED = {
    "3/": "open-source",
    "27/": "acme-labs",
    "27/28/": "acme-labs/Platform",
    "27/28/5/": "acme-labs/Platform/100%_done",
    "27/281/": "acme-labs/mobile",
}


@pytest.fixture(autouse=True)
def groups(connection: psycopg.Connection) -> None:
    """Stores the groups, and one without a known full path."""
    for path, full_path in [*STORED.items(), ("9/", None)]:
        number = path.rstrip("/").rpartition("/")[2]
        connection.execute(
            "INSERT INTO namespaces (id, path, full_path) VALUES (%s, %s, %s)", [number, path, full_path]
        )


def found(api: GraphqlHandler, *namespaces: str, search: str | None = None, first: int | None = None) -> list[str]:
    rows = ask(api, NAMESPACES, *namespaces, search=search, first=first)["namespaces"]
    assert all(STORED[row["path"]] == row["fullPath"] for row in rows)
    return [row["path"] for row in rows]


def test_without_a_text_all_named_groups_are_listed_the_shortest_path_first(api: GraphqlHandler) -> None:
    assert found(api) == sorted(STORED, key=lambda path: (len(STORED[path]), STORED[path]))


@pytest.mark.parametrize(
    ("search", "paths"),
    [
        ("platform", ["27/28/", "27/28/5/"]),
        ("PLATFORM", ["27/28/", "27/28/5/"]),
        ("labs/m", ["27/281/"]),
        ("%", ["27/28/5/"]),
        ("_", ["27/28/5/"]),
        ("nothing", []),
        ("\0", []),
    ],
)
def test_a_part_of_the_full_path_finds_groups_in_any_case(api: GraphqlHandler, search: str, paths: list[str]) -> None:
    assert found(api, search=search) == paths


@pytest.mark.parametrize(
    ("granted", "paths"),
    [
        (("27/28/",), ["27/28/", "27/28/5/"]),
        (("3/", "27/281/"), ["3/", "27/281/"]),
        (("9/",), []),
        (("2/",), []),
    ],
)
def test_only_groups_that_the_token_covers_are_found(
    api: GraphqlHandler, granted: tuple[str, ...], paths: list[str]
) -> None:
    assert sorted(found(api, *granted)) == sorted(paths)


def test_no_more_groups_than_asked_for_are_listed(api: GraphqlHandler) -> None:
    assert found(api, first=1) == ["27/"]
    assert found(api, first=0) == []


def test_a_list_of_a_thousand_groups_is_the_longest(api: GraphqlHandler) -> None:
    _, answer = request(api, {"query": NAMESPACES, "variables": {"first": 1001}})
    assert "first" in answer["errors"][0]["message"]
