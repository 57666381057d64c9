"""Payload paths: their syntax, and payloads reduced to some paths."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.graphql.query.path import Path, payload_at_paths, read_path
from tests.support.payloads import value_at, write_path

PATHS: list[tuple[str, Path]] = [
    ("job", ("job",)),
    ("job.id", ("job", "id")),
    ("tags[0]", ("tags", 0)),
    ("items[2].name", ("items", 2, "name")),
    ("a[0][10]", ("a", 0, 10)),
    ('"a.b".c', ("a.b", "c")),
    ('"say \\"hi\\""', ('say "hi"',)),
    ('a."".b', ("a", "", "b")),
    ('"[0]"[0]', ("[0]", 0)),
    ("0.1", ("0", "1")),
    ("with space.'; DROP TABLE x --", ("with space", "'; DROP TABLE x --")),
    ("é日.😀", ("é日", "😀")),
    ("a\nb.{x:y}.%s", ("a\nb", "{x:y}", "%s")),
]


@pytest.mark.parametrize(("text", "path"), PATHS)
def test_a_path_is_read_as_it_is_written(text: str, path: Path) -> None:
    assert read_path(text) == path
    assert write_path(path) == text


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8) | st.integers(0, 10**9 - 1)),
)
def test_any_path_can_be_written_and_read(first: str, further: list[str | int]) -> None:
    path = (first, *further)
    if len(path) <= 64 and len(write_path(path)) <= 1024:
        assert read_path(write_path(path)) == path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a path"),
        (".a", "is not a path"),
        ("a.", "see character 2"),
        ("a..b", "see character 2"),
        ("[0]", "is not a path"),
        ("a[]", "see character 2"),
        ("a[-1]", "see character 2"),
        ("a[01]", "see character 2"),
        ("a[1000000000]", "see character 2"),
        ("a[0]b", "see character 5"),
        ('a"b"', "see character 2"),
        ('"a', "is not a path"),
        ("a]", "see character 2"),
        ('"\\x"', "not a JSON string"),
        ('"\\ud800"', "not a JSON string"),
        ('"a\nb"', "not a JSON string"),
        ("\ud800", "not a JSON string"),
        ("a\0", "U+0000"),
        ('"\\u0000"', "U+0000"),
        ("x" * 1025, "at most 1,024 characters, not 1,025"),
        (".".join("a" * 65), "65 steps"),
    ],
)
def test_what_is_no_path_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("+", r"\+")) as refused:
        read_path(text)
    assert len(str(refused.value)) < 250
    str(refused.value).encode()


PAYLOAD: dict[str, Any] = {
    "job": {"id": 1, "name": "test", "stage": {"id": 7}},
    "tags": ["a", "b", "c"],
    "items": [{"name": "x", "size": 1}, {"name": "y", "size": 2}],
    "grid": [[1, 2], [3, 4]],
    "a.b": {"c": True},
}


@pytest.mark.parametrize(
    ("paths", "reduced"),
    [
        ([], {}),
        (["missing", "job.missing", "tags[9]", "job[0]", "tags.a"], {}),
        (["job.id"], {"job": {"id": 1}}),
        (["job.id", "job.stage.id"], {"job": {"id": 1, "stage": {"id": 7}}}),
        (["job.id", "job"], {"job": PAYLOAD["job"]}),
        (["job", "job.id", "job.stage.id"], {"job": PAYLOAD["job"]}),
        (["tags[2]", "tags[0]"], {"tags": ["a", "c"]}),
        (["tags[0]", "tags"], {"tags": ["a", "b", "c"]}),
        (["items[1].name", "items[0].size", "items[1].size"], {"items": [{"size": 1}, {"name": "y", "size": 2}]}),
        (["grid[1][0]", "grid[0]"], {"grid": [[1, 2], [3]]}),
        (['"a.b".c', "tags[1]"], {"a.b": {"c": True}, "tags": ["b"]}),
    ],
)
def test_a_payload_is_reduced_to_some_paths(paths: list[str], reduced: dict[str, Any]) -> None:
    read = [read_path(path) for path in paths]
    found = [value_at(PAYLOAD, path) for path in read]
    texts = [None if value is None else msgspec.Raw(msgspec.json.encode(value)) for value in found]
    assert msgspec.json.decode(msgspec.json.encode(payload_at_paths(read, texts))) == reduced
