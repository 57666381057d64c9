"""Events as producers send them, for the benchmarks."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from functions.ingest.message.batch import Batch
from functions.shared.grant import Grant
from functions.shared.timestamp import format_timestamp

MAX_MESSAGE_BYTES = 256 * 1024
NOW = datetime.now(UTC).replace(microsecond=0)
GRANT = Grant("1", ("events:write",), ("*",))

LANGUAGES = ("ruby", "python", "go", "typescript", "javascript", "rust", "java", "c++")
EDITORS = (("VSCode", "Microsoft", "1.106.2"), ("IntelliJ IDEA", "JetBrains", "2026.2"), ("Neovim", "Neovim", "0.12.1"))
SUGGESTION_EVENTS = (
    "code_suggestion_shown_in_ide",
    "code_suggestion_accepted_in_ide",
    "code_suggestion_rejected_in_ide",
)
USERS = 2_000
PROJECTS = 1_000
NAMESPACES = 50


def events(count: int, seed: int = 1, over: timedelta = timedelta(days=20)) -> Iterator[dict[str, Any]]:
    """`count` events of four features, spread over the time before now, each with an id and a time of its own."""
    chance = random.Random(seed)
    for number in range(count):
        user = chance.randrange(1, USERS)
        project = chance.randrange(1, PROJECTS)
        namespace = project % NAMESPACES
        yield {
            "id": str(UUID(int=chance.getrandbits(128), version=4)),
            "timestamp": format_timestamp(NOW - over + over * (number + chance.random()) / count),
            "user": {"id": user, "username": f"user-{user}"},
            "namespace": {"path": f"9/{namespace + 100}/", "full_path": f"gitlab-org/group-{namespace}"},
            **_content(chance, number, project),
        }


def _content(chance: random.Random, number: int, project: int) -> dict[str, Any]:
    kind = chance.random()
    if kind < 0.7:
        editor, vendor, version = chance.choice(EDITORS)
        return {
            "event": chance.choice(SUGGESTION_EVENTS),
            "project_id": project,
            "additional_properties": {
                "unique_tracking_id": str(UUID(int=chance.getrandbits(128), version=4)),
                "suggestion_size": chance.randrange(1, 60),
                "language": chance.choice(LANGUAGES),
                "branch_name": f"feature/{number % 500}",
                "ide_name": editor,
                "ide_vendor": vendor,
                "ide_version": version,
                "extension_name": "gitlab-workflow",
                "extension_version": "6.41.0",
                "language_server_version": "8.12.0",
                "model_name": "claude-sonnet",
                "model_engine": "anthropic",
            },
        }
    if kind < 0.85:
        return {"event": "request_duo_chat_response", "project_id": project}
    if kind < 0.95:
        properties = {"value": number, "label": "software_development", "property": "web"}
        return {
            "event": "agent_platform_session_started",
            "project_id": project,
            "additional_properties": properties,
        }
    pipeline = {"id": number + 1, "merge_request_id": number + 2}
    return {"event": "troubleshoot_job", "job": {"id": number, "project_id": project, "pipeline": pipeline}}


def records(sent: list[dict[str, Any]], per_request: int = 500) -> list[dict[str, Any]]:
    """The events as the API puts them on the queue, `per_request` a request, and SQS hands them to the consumer."""
    made = []
    for first in range(0, len(sent), per_request):
        raw = [msgspec.Raw(json.dumps(event).encode()) for event in sent[first : first + per_request]]
        messages = Batch(f"request-{first}", NOW, raw, grant=GRANT).messages(MAX_MESSAGE_BYTES)
        made += [record(msgspec.json.encode(one).decode(), f"message-{first}-{one.first}") for one in messages]
    return made


def record(body: str, message_id: str) -> dict[str, Any]:
    """A message as SQS hands it to the consumer."""
    sent_at = str(int(NOW.timestamp() * 1000))
    return {
        "messageId": message_id,
        "body": body,
        "attributes": {"SentTimestamp": sent_at, "ApproximateReceiveCount": "1"},
    }
