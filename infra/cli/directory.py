"""`usage-events directory`: shows and corrects facts about namespaces, projects and users."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from functions.shared import settings
from functions.shared.postgres import Connection, TimeLimits, connect
from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, errors_reported, format_moment, printable

if TYPE_CHECKING:
    from functions.ingest.directory.fact import Kind as LocationKind
    from functions.ingest.directory.fact import PropertyName

app = typer.Typer(help="Show and correct facts about namespaces, projects and users.", no_args_is_help=True)

LIMITS = TimeLimits(statement=60, transaction=60)


class KindName(StrEnum):
    """Kinds of subjects in the directory."""

    namespace = "namespace"
    project = "project"
    user = "user"


Kind = Annotated[KindName, typer.Argument(help="Kind of the subject.")]
Number = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ID", help="Id of the subject.")]


@app.command()
def show(
    kind: Kind,
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the subject, or full path of a namespace or project.")
    ],
) -> None:
    """Show the current values, and every statement behind them: when it was made, and by whom."""
    from infra.operations import directory

    with _database() as connection:
        number = _number(connection, kind, name)
        known = directory.current(connection, kind.value, number)
        lines = directory.statements(connection, kind.value, number)
    for property_name, value in known.items():
        typer.echo(f"{property_name:<10} {printable(value) if value is not None else 'unknown'}")
    table = Table("stated", "value", "as of", "by", "sender limited to")
    for line in lines:
        time = format_moment(line.stated_at) if line.stated_at else "unknown"
        value = printable(line.value) if line.value is not None else "forgotten"
        table.add_row(line.property_name, value, time, printable(line.stated_by), line.limit or "all namespaces")
    console().print(table)


@app.command("set")
def set_(
    *,
    kind: Kind,
    number: Number,
    path: Annotated[
        str | None, typer.Option(help="Traversal path of the namespace, or of the project's namespace, like 27/28/.")
    ] = None,
    full_path: Annotated[str | None, typer.Option(help="Full path like gitlab-org/gitlab.")] = None,
    username: Annotated[str | None, typer.Option(help="Name of the user.")] = None,
    namespace: Annotated[
        str | None,
        typer.Option(help="Namespace in which the name applies, like 27/28/; default: wherever a name was stated."),
    ] = None,
) -> None:
    """State facts as of now and record the command; later statements of senders replace them."""
    from infra.operations import directory

    values = _values(kind, number, path, full_path, username, namespace)
    with _database() as connection:
        if kind is KindName.user:
            directory.set_username(connection, number, str(username), namespace, getpass.getuser())
        else:
            directory.set_location(connection, (cast("LocationKind", kind.value), number), values, getpass.getuser())
        _echo(connection, kind, number)


@app.command()
def forget(kind: Kind, number: Number) -> None:
    """Forget everything stated until now; record the command with the previous values."""
    from infra.operations import directory

    with _database() as connection:
        directory.forget(connection, kind.value, number, getpass.getuser())
        _echo(connection, kind, number)


def _values(
    kind: KindName, number: int, path: str | None, full_path: str | None, username: str | None, namespace: str | None
) -> "dict[PropertyName, str]":
    """Returns the given properties after checking that they fit the kind."""
    from functions.ingest.event.location import namespace_id_of
    from functions.shared.grant import is_traversal_path

    given: dict[PropertyName, str] = {}
    if kind is KindName.user:
        if not username or path or full_path:
            raise typer.BadParameter("a user takes --username and optionally --namespace")
        if namespace is not None and not is_traversal_path(namespace):
            raise typer.BadParameter(f"{namespace!r} is not like 27/28/", param_hint="--namespace")
        return given
    if username or namespace or not (path or full_path):
        raise typer.BadParameter(f"a {kind.value} takes --path, --full-path or both")
    if path:
        if not is_traversal_path(path):
            raise typer.BadParameter(f"{path!r} is not like 27/28/", param_hint="--path")
        if kind is KindName.namespace and namespace_id_of(path) != number:
            raise typer.BadParameter(f"the last id of {path} is not {number}", param_hint="--path")
        given["path"] = path
    if full_path:
        if is_traversal_path(full_path):
            raise typer.BadParameter("a full path must not consist of ids", param_hint="--full-path")
        given["full_path"] = full_path
    return given


def _number(connection: Connection, kind: KindName, name: str) -> int:
    from infra.operations import directory

    if name.isdecimal():
        return int(name)
    for found, number in directory.find(connection, name) if kind is not KindName.user else ():
        if found == kind.value:
            return number
    typer.echo(f"No {kind.value} is known as {name}.", err=True)
    raise typer.Exit(1)


def _echo(connection: Connection, kind: KindName, number: int) -> None:
    from infra.operations import directory

    known = directory.current(connection, kind.value, number)
    values = ", ".join(f"{name} {value if value is not None else 'unknown'}" for name, value in known.items())
    typer.echo(f"{kind.value} {number}: {printable(values)}")


@contextmanager
def _database() -> Iterator[Connection]:
    use_local_stack()
    with errors_reported(), connect(settings.database_url(), LIMITS) as connection:
        yield connection
