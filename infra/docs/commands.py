"""Sections for the commands of `usage-events`, from their help texts."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from infra.cli import app
from infra.docs.markdown import code, table

PROGRAM = "usage-events"


def commands() -> str:
    """Returns a section for each command: usage, purpose, arguments and options."""
    return "\n".join(_section(name, command) for name, command in all_commands())


def all_commands() -> Iterator[tuple[str, Any]]:
    """Yields every command with its whole name, like `usage-events token create`."""
    yield from _below(PROGRAM, typer.main.get_command(app))


def _below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
        return
    for word, below in sorted(inner.items()):
        yield from _below(f"{name} {word}", below)


def _section(name: str, command: Any) -> str:
    parameters = [one for one in command.params if one.name != "help"]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    parts = [f"### {name}\n", f"```text\n{usage}\n```\n", f"{inspect.cleandoc(command.help or '')}\n"]
    if parameters:
        rows = [[code(_name(one)), _note(one), one.help or ""] for one in (*arguments, *options)]
        parts.append(table(["parameter", "", "what it is"], rows))
    return "\n".join(parts)


def _argument(argument: Any) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _name(parameter: Any) -> str:
    return _argument(parameter) if parameter.param_type_name == "argument" else ", ".join(parameter.opts)


def _note(parameter: Any) -> str:
    if parameter.required:
        return "required"
    is_said = isinstance(parameter.default, str | int) and not isinstance(parameter.default, bool)
    return f"default {code(str(parameter.default))}" if is_said and parameter.default != "" else ""
