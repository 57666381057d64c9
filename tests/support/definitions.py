"""Definitions that tests write."""

import textwrap
from itertools import count
from pathlib import Path

from functions.graphql.documents import DocumentCache
from functions.graphql.handler import GraphqlHandler
from functions.shared.catalog.registry import Registry, load
from tests.support.graphql import schema_of

CONFLICT = """
from definitions import Feature

Feature("conflicting", owner="nobody").events(another=7)
"""
"""Uses the id of a shipped event."""

_packages = count()
_loaded: dict[tuple[tuple[str, str], ...], Registry] = {}


def write_package(folder: Path, **modules: str) -> Path:
    """Writes a new package of modules with these texts in a folder on the import path."""
    package = folder / f"defined{next(_packages)}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return package


def load_from(folder: Path, **modules: str) -> Registry:
    """Loads definitions from texts, after adding the usual imports to each. The same texts are loaded once."""
    texts = tuple(modules.items())
    if texts not in _loaded:
        head = '"""A team\'s events."""\nfrom definitions import Feature, Payload, reserve_ids, users_count\n'
        package = write_package(folder, **{name: head + textwrap.dedent(text) for name, text in texts})
        _loaded[texts] = load(package.name)
    return _loaded[texts]


def answer_with(registry: Registry, api: GraphqlHandler) -> None:
    """Gives the GraphQL handler these definitions in place of the shipped ones."""
    api.registry, api.schema = registry, schema_of(registry)
    api.documents = DocumentCache(api.schema, introspection=True)
