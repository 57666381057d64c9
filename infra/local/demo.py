"""Demonstrates the stack: sends every event over HTTPS and over the queue, and shows the stored events."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import typer
from clickhouse_connect.driver.client import Client

from functions.shared import clickhouse, event_columns
from functions.shared.catalog.registry import load
from functions.shared.clickhouse import target_of
from infra.local import browser, deploy
from infra.local.process import StartError
from infra.local.stack import step, without_password
from infra.operations.demo_data import demo_events, send
from infra.stack_file import Stack

STORED_WITHIN_SECONDS = 60
COPIED_WITHIN_SECONDS = 180

EXAMPLES: dict[str, dict[str, Any]] = {
    "code_suggestions": {
        "project_id": 4,
        "additional_properties": {"unique_tracking_id": "foo", "language": "ruby", "suggestion_size": 18},
    },
    "troubleshoot_job": {"job": {"id": 1, "project_id": 4, "pipeline": {"id": 1}}},
    "agent_platform": {"project_id": 4, "additional_properties": {"value": 7, "label": "chat", "property": "web"}},
}
_SHOWN_EVENT = "troubleshoot_job"

QUERY = f"""{{
  aiInstanceUsageData {{
    all(events: [{_SHOWN_EVENT.upper()}], first: 1) {{
      nodes {{ id timestamp event user {{ id username }} namespacePath payload }}
    }}
  }}
}}"""
PAGES = """
    query ($start: Date!, $after: String) {
        aiInstanceUsageData {
            all(startDate: $start, first: 1000, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } }
        }
    }
"""
_EVENT = """
    SELECT {columns}
    FROM ai_usage_events
    WHERE id = %s
"""
SELECT = _EVENT.format(columns=event_columns.ALL)
STORED = "SELECT id FROM ai_usage_events WHERE id = ANY(%s)"
REJECTED = "SELECT event_id, code, message FROM rejected_events WHERE event_id = ANY(%s)"
COPIED = "SELECT id FROM ai_usage_events WHERE id IN {ids:Array(UUID)}"
DEEP_SELECT = "SELECT * FROM ai_usage_events_current WHERE payload.project_id > 1"
SHOWN_ROWS = 10
IDS_A_QUERY = 1000

DEMO_USERS = 60
DEMO_STORED_WITHIN_SECONDS = 300
PICTURE = "dashboard.png"
PICTURE_MILLISECONDS = 60_000


def show(stack: Stack, folder: Path) -> None:
    """Sends every event that is not deprecated over HTTPS and SQS, and shows the stored events.

    Raises:
        StartError: some events were not stored in time; the message names them.
    """
    by_https, by_queue = list(_events()), list(_events())
    with step(f"Sending {len(by_https)} events over HTTPS and {len(by_queue)} over the queue"):
        _post(stack, by_https)
        sqs = deploy.client("sqs", stack.aws_endpoint_url)
        sqs.send_message(QueueUrl=stack.queue_url, MessageBody=json.dumps(by_queue))
    sent = {UUID(event["id"]): event["event"] for event in by_https + by_queue}
    with step("Waiting for them in PostgreSQL"):
        rejected = _wait_for_consumer(stack, sent)
    _tell_of_rejected(sent, rejected)
    sent = {identifier: name for identifier, name in sent.items() if identifier not in rejected}
    with step("Waiting for them in GraphQL"):
        _wait_for_graphql(stack, sent)
    answer = _ask(stack, QUERY)
    event_id = answer["aiInstanceUsageData"]["all"]["nodes"][0]["id"]
    typer.echo(f"\nGraphQL, {stack.api_url}/graphql\n{QUERY}")
    typer.echo(json.dumps(answer, indent=2))
    typer.echo(f"\nPostgreSQL, {without_password(stack.database_url)}{SELECT.replace('%s', f"'{event_id}'").rstrip()}")
    with psycopg.connect(stack.database_url) as connection:
        cursor = connection.execute(SELECT, [event_id])
        row = cursor.fetchone()
        for column, value in zip(cursor.description or (), row or (), strict=True):
            typer.echo(f"  {column.name:<15}{json.dumps(value) if isinstance(value, dict) else value}")
    with closing(_clickhouse(stack)) as client:
        with step("Copying them to ClickHouse, without waiting for the sync's next minute"):
            _start_sync(stack)
            _wait_for_clickhouse(client, sent)
        _show_deep_select(client, stack)
    typer.echo(f"\nAll {len(sent)} events are stored." if not rejected else f"\n{len(sent)} events are stored.")
    _show_dashboard(stack, folder)


def _show_dashboard(stack: Stack, folder: Path) -> None:
    """Fills the dashboard with events that look real, says where it is, and takes a picture of it."""
    events = list(demo_events(load(), datetime.now(UTC), days=90, users=DEMO_USERS, seed=1, retention_months=3))
    with step(f"Sending {len(events):,} events of 90 days that look real"):
        send(events, deploy.client("sqs", stack.aws_endpoint_url), stack.queue_url)
    ids = {UUID(event["id"]) for event in events}
    with step("Waiting for them in PostgreSQL"):
        _wait_for_demo_data(ids, lambda: _stored(stack, ids), "PostgreSQL")
    with step("Waiting for them in ClickHouse"), closing(_clickhouse(stack)) as client:
        _start_sync(stack)
        _wait_for_demo_data(ids, lambda: _in_clickhouse(client, ids), "ClickHouse")
    picture = _picture(stack, folder / PICTURE)
    typer.echo(f"\nThe dashboard: {stack.api_url}/dashboard")
    typer.echo(f"  It is there while the stack runs (make start); its token is in {folder / 'stack.json'}.")
    about_picture = (
        f"A picture of it needs a browser. {browser.what_is_missing() or '`make browser` gets one.'}"
        if picture is None
        else f"A picture of it: {picture}"
    )
    typer.echo(f"  {about_picture}")


def _wait_for_demo_data(ids: set[UUID], found: Callable[[], set[UUID]], where: str) -> None:
    give_up = time.monotonic() + DEMO_STORED_WITHIN_SECONDS
    while (missing := len(ids) - len(found())) > 0:
        if time.monotonic() > give_up:
            raise StartError(f"{missing:,} events are not in {where} after {DEMO_STORED_WITHIN_SECONDS:.0f} s")
        time.sleep(0.5)


def _clickhouse(stack: Stack) -> Client:
    return clickhouse.connect(stack.clickhouse_url, COPIED_WITHIN_SECONDS)


def _picture(stack: Stack, file: Path) -> Path | None:
    """Saves a picture of the dashboard in the file, and returns the file; None without a browser."""
    installed = browser.installed()
    if installed is None:
        return None
    with step("Taking a picture of the dashboard"), browser.launched(installed) as running:
        page = running.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(f"sessionStorage.setItem('token', {json.dumps(stack.token)})")
        page.goto(f"{stack.api_url}/dashboard", timeout=PICTURE_MILLISECONDS)
        page.locator(".panels svg").first.wait_for(timeout=PICTURE_MILLISECONDS)
        page.locator("progress").wait_for(state="detached", timeout=PICTURE_MILLISECONDS)
        page.wait_for_load_state("networkidle", timeout=PICTURE_MILLISECONDS)
        page.screenshot(path=file, full_page=True)
    return file


def _events() -> Iterator[dict[str, Any]]:
    for event in load().events.values():
        if not event.deprecated:
            yield {
                "event": event.name,
                "id": str(uuid4()),
                "timestamp": datetime.now(UTC).isoformat(),
                "user": {"id": 1, "username": "root"},
                "namespace": {"path": "27/28/", "full_path": "gitlab-org/gitlab"},
                **EXAMPLES.get(event.feature.name, {}),
            }


def _post(stack: Stack, events: list[dict[str, Any]]) -> None:
    headers = {"Authorization": f"Bearer {stack.token}"}
    response = httpx.post(f"{stack.api_url}/v1/events", json=events, headers=headers, timeout=60)
    if response.status_code != httpx.codes.ACCEPTED:
        raise StartError(f"Sending the events failed with {response.status_code}: {response.text}")


def _start_sync(stack: Stack) -> None:
    formation = deploy.client("cloudformation", stack.aws_endpoint_url)
    resource = formation.describe_stack_resource(StackName=deploy.STACK, LogicalResourceId="SyncFunction")
    name = resource["StackResourceDetail"]["PhysicalResourceId"]
    deploy.client("lambda", stack.aws_endpoint_url).invoke(FunctionName=name, InvocationType="Event")


def _ask(stack: Stack, query: str, **variables: Any) -> Any:
    response = httpx.post(
        f"{stack.api_url}/graphql",
        json={"query": query, "variables": variables},
        headers={"Authorization": f"Bearer {stack.token}"},
        timeout=60,
    )
    answer = response.json()
    if "data" not in answer or "errors" in answer:
        raise StartError(f"GraphQL answered with {response.status_code}: {response.text}")
    return answer["data"]


def _show_deep_select(client: Client, stack: Stack) -> None:
    typer.echo(f"\nClickHouse, {without_password(stack.clickhouse_url)}\n    {DEEP_SELECT}")
    rows = list(client.query(DEEP_SELECT, settings=clickhouse.READ_SETTINGS).named_results())
    for row in rows[:SHOWN_ROWS]:
        columns = f"user_id {row['user_id']}, event {row['event']}, {row['namespace_path']}"
        typer.echo(f"  {columns}, {json.dumps(row['payload'], sort_keys=True)}")
    if len(rows) > SHOWN_ROWS:
        typer.echo(f"  … and {len(rows) - SHOWN_ROWS} more")


def _wait_for_consumer(stack: Stack, sent: dict[UUID, str]) -> dict[UUID, str]:
    """Waits until each event is stored or rejected, and returns the reasons of the rejected ones by event id."""
    _wait_until_all(
        sent, lambda: _stored(stack, sent) | _rejected(stack, sent).keys(), "PostgreSQL", STORED_WITHIN_SECONDS
    )
    return _rejected(stack, sent)


def _tell_of_rejected(sent: dict[UUID, str], rejected: dict[UUID, str]) -> None:
    """Says which events of the definitions need more than the demo sends, and why."""
    if rejected:
        typer.echo(f"\n{len(rejected)} events were rejected: the demo does not send the context that they need.")
        for reason in sorted({f"{sent[identifier]}: {reason}" for identifier, reason in rejected.items()}):
            typer.echo(f"  {reason}")
        typer.echo("  EXAMPLES in infra/local/demo.py is the context that it sends for each feature.")


def _wait_for_graphql(stack: Stack, sent: dict[UUID, str]) -> None:
    _start_sync(stack)  # of a stack that ran before, GraphQL answers from ClickHouse
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    _wait_until_all(sent, lambda: _in_graphql(stack, yesterday), "GraphQL", COPIED_WITHIN_SECONDS)


def _wait_for_clickhouse(client: Client, sent: dict[UUID, str]) -> None:
    _wait_until_all(sent, lambda: _in_clickhouse(client, sent), "ClickHouse", COPIED_WITHIN_SECONDS)


def _wait_until_all(sent: dict[UUID, str], found: Callable[[], set[UUID]], where: str, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while missing := sent.keys() - found():
        if time.monotonic() > give_up:
            names = sorted({sent[identifier] for identifier in missing})
            raise StartError(f"Not in {where} after {seconds:.0f} s: {', '.join(names)}")
        time.sleep(0.2)


def _in_clickhouse(client: Client, ids: Iterable[UUID]) -> set[UUID]:
    if target_of(client) is None:  # the sync has not created the table yet
        return set()
    return {
        identifier
        for some in batched(ids, IDS_A_QUERY, strict=False)
        for (identifier,) in client.query(COPIED, parameters={"ids": list(some)}).result_rows
    }


def _stored(stack: Stack, ids: Iterable[UUID]) -> set[UUID]:
    with psycopg.connect(stack.database_url) as connection:
        return {identifier for (identifier,) in connection.execute(STORED, [list(ids)])}


def _rejected(stack: Stack, ids: Iterable[UUID]) -> dict[UUID, str]:
    with psycopg.connect(stack.database_url) as connection:
        rows = connection.execute(REJECTED, [list(ids)])
        return {identifier: f"{code}: {message}" for identifier, code, message in rows}


def _in_graphql(stack: Stack, start: str) -> set[UUID]:
    found: set[UUID] = set()
    after = None
    while True:
        page = _ask(stack, PAGES, start=start, after=after)["aiInstanceUsageData"]["all"]
        found.update(UUID(node["id"]) for node in page["nodes"])
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]
