"""Definitions that tests write."""

import textwrap
from itertools import count
from pathlib import Path

from functions.graphql.documents import DocumentCache
from functions.graphql.handler import GraphqlHandler
from functions.graphql.schema import executable_schema
from functions.shared.catalog.registry import Registry, load

CONFLICT = """
from definitions import Feature

Feature("conflicting", owner="nobody").events(another=7)
"""
"""Uses the id of a shipped event."""

_packages = count()


def write_package(folder: Path, **modules: str) -> Path:
    """Writes a new package of modules with these texts in a folder on the import path."""
    package = folder / f"defined{next(_packages)}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
    return package


def load_from(folder: Path, **modules: str) -> Registry:
    """Loads definitions from texts, after adding the usual imports to each."""
    head = '"""A team\'s events."""\nfrom definitions import Feature, Payload, reserve_ids, users_count\n'
    return load(write_package(folder, **{name: head + textwrap.dedent(text) for name, text in modules.items()}).name)


def answer_with(registry: Registry, api: GraphqlHandler) -> None:
    """Gives the GraphQL handler these definitions in place of the shipped ones."""
    api.registry, api.schema = registry, executable_schema(registry)
    api.documents = DocumentCache(api.schema, introspection=True)
