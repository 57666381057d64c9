import compileall
import importlib
from pathlib import Path

import pytest

from functions.graphql.types.descriptions import Descriptions
from functions.shared.catalog.payload_type import nested_classes
from functions.shared.catalog.registry import load
from tests.support.definitions import write_package

DEFINITION = '''
"""What people ask.

More about it.
"""

from typing import Any

from definitions import Context, Feature, Payload
from .places import Located


class Author(Payload):
    """Who wrote it."""

    name: str | None = None  # as shown
    age: int | None = None


class Question(Located, kw_only=True, rename={"kind": "question_kind"}):
    """A question.

    With its author.
    """

    class Part(Payload):
        text: str = "#"  # with a # in it

    plain: str | None = None
    beside: str | None = None  # beside it  # noqa: E501
    # above it,
    # in two lines
    above: str | None = None

    # a heading, not about a field

    below: str | None = None
    """Below it."""
    several_lines: str | None = (
        None  # within
    )  # at the end
    for_tools: int | None = None  # type: ignore[assignment]
    kind: str | None = None  #: renamed
    author: Author | None = None
    parts: list[Part] | None = None


feature = Feature("questions", owner="o", payload=Question)
# No longer asked.
feature.deprecated_events(old=1, older=2)


@feature.events(
    asked=3,  # somebody asked
    # somebody answered
    answered=4,
    voted=5,
)
def question(context: Context) -> dict[str, Any]:
    """What was asked,
    and by whom.

    Not used.
    """
    return {}


feature.events(forgotten=6)
'''
PLACES = """
from definitions import Payload


class Located(Payload):
    place: str | None = None  # where it was
"""


@pytest.fixture
def package(folder: Path) -> Path:
    return write_package(folder, questions=DEFINITION.lstrip(), places=PLACES)


def described(package: Path) -> tuple[Descriptions, dict[str, str], dict[str, str]]:
    """Returns the descriptions of a feature, of its events and of its payload keys."""
    feature = load(package.name).features["questions"]
    descriptions = Descriptions.of(feature)
    assert feature.payload is not None
    keys = {key: descriptions.key(feature.payload, key) for key in feature.payload.fields()}
    return descriptions, {name: descriptions.event(name) for name in feature.all_ids}, keys


def test_a_payload_key_is_described_by_the_comment_or_docstring_at_its_field(package: Path) -> None:
    _, _, keys = described(package)
    assert keys == {
        "place": "where it was",
        "plain": "",
        "beside": "beside it",
        "above": "above it,\nin two lines",
        "below": "Below it.",
        "several_lines": "at the end",
        "for_tools": "",
        "question_kind": "renamed",
        "author": "",
        "parts": "",
    }


def test_a_nested_payload_is_described_by_its_own_class(package: Path) -> None:
    feature = load(package.name).features["questions"]
    assert feature.payload is not None
    descriptions = Descriptions.of(feature)
    author, part = nested_classes(feature.payload)
    assert descriptions.payload_class(feature.payload) == "A question.\n\nWith its author."
    assert descriptions.payload_class(author) == "Who wrote it."
    assert descriptions.payload_class(part) == ""
    assert descriptions.key(author, "name") == "as shown"
    assert descriptions.key(part, "text") == "with a # in it"


def test_an_event_is_described_by_its_comment_or_its_module(package: Path) -> None:
    _, events, _ = described(package)
    assert events == {
        "asked": "somebody asked",
        "answered": "somebody answered",
        "voted": "What people ask.",
        "forgotten": "What people ask.",
        "old": "No longer asked.",
        "older": "No longer asked.",
    }


def test_a_definition_without_source_is_described_by_its_docstrings(package: Path) -> None:
    compileall.compile_dir(package, legacy=True, quiet=1)
    for source in package.glob("*.py"):
        source.unlink()
    importlib.invalidate_caches()
    _, events, keys = described(package)
    assert set(keys.values()) == {""}
    assert set(events.values()) == {"What people ask."}
