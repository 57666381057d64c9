"""Definitions that tests write."""

import textwrap
from itertools import count
from pathlib import Path
from types import ModuleType

import pytest

from functions.graphql.documents import Documents
from functions.graphql.schema import executable_schema
from functions.shared.registry import Registry, load

_packages = count()


def load_from(folder: Path, **modules: str) -> Registry:
    """The definitions in a new package of modules with these texts, in a folder that modules are imported from."""
    package = folder / f"defined{next(_packages)}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in modules.items():
        head = '"""A team\'s events."""\nfrom definitions import Feature, Payload\n'
        (package / f"{name}.py").write_text(head + textwrap.dedent(text))
    return load(package.name)


def answer_with(registry: Registry, api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the module `functions.graphql.api` answer with these definitions instead of the shipped ones."""
    schema = executable_schema(registry)
    monkeypatch.setattr(api, "registry", registry)
    monkeypatch.setattr(api, "schema", schema)
    monkeypatch.setattr(api, "documents", Documents(schema, introspection=True))
