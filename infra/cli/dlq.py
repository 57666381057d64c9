"""`usage-events dlq`: shows and redrives messages that the consumer failed to process."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from functions.shared import settings
from functions.shared.counted import counted
from infra.cli.environment import use_local_stack
from infra.cli.terminal import console, errors_reported, format_moment, printable

if TYPE_CHECKING:
    from infra.operations.dead_letters import DeadLetter

app = typer.Typer(help="Dead letters: messages that the consumer failed to process.", no_args_is_help=True)

_MAX_SHOWN_CHARACTERS = 40
_MAX_NAME_CHARACTERS = 50
_MAX_NAMES = 5


@app.command()
def show(
    *, limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of messages to show.")] = 20
) -> None:
    """Show the messages in the dead-letter queue without removing them."""
    import boto3

    from infra.operations.dead_letters import count, dead_letter_queue_url, peek

    use_local_stack()
    with errors_reported():
        client = boto3.client("sqs")
        url = dead_letter_queue_url(client, settings.queue_url())
        total = count(client, url)
        letters = sorted(peek(client, url, limit), key=lambda letter: letter.origin.sent_at)
    table = Table(title=f"Dead letters: {max(total, len(letters)):,}", title_justify="left")
    for name in ("id", "sent", "age", "receives", "bytes", "events", "begins with"):
        table.add_column(name, no_wrap=name in ("id", "sent"))
    for letter in letters:
        table.add_row(*_cells(letter))
    console().print(table)


@app.command()
def redrive() -> None:
    """Send the dead letters to the queue again; their events keep their ids and times."""
    import boto3

    from infra.operations import dead_letters

    use_local_stack()
    with errors_reported():
        client, queue_url = boto3.client("sqs"), settings.queue_url()
        done = dead_letters.redrive(client, dead_letters.dead_letter_queue_url(client, queue_url), queue_url)
    typer.echo(f"{counted(done.sent, 'message', 'is')} on the queue again.")
    if done.unsent:
        typer.echo(f"{counted(done.unsent, 'dead letter', 'was')} not accepted by the queue.", err=True)
        raise typer.Exit(1)


def _cells(letter: "DeadLetter") -> tuple[str, ...]:
    sent_at = letter.origin.sent_at
    age = timedelta(seconds=max(0, round((datetime.now(UTC) - sent_at).total_seconds())))
    beginning = printable(letter.body[:_MAX_SHOWN_CHARACTERS])
    size = f"{len(letter.body.encode()):,}"
    return letter.id, format_moment(sent_at), str(age), str(letter.receives), size, _events(letter), beginning


def _events(letter: "DeadLetter") -> str:
    """Returns the names of the message's events with their counts."""
    from functions.ingest.message.replay import read_message
    from infra.operations.event_name import event_name

    batch = read_message(letter.body.encode(), letter.origin)
    names = Counter(event_name(bytes(event).decode(errors="replace")) or "unreadable" for event in batch.events)
    return printable(
        ", ".join(f"{number:,} {name[:_MAX_NAME_CHARACTERS]}" for name, number in names.most_common(_MAX_NAMES))
    )
