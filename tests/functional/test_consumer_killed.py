import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from functions.shared.timestamp import format_timestamp
from tests.support.checkout import ROOT
from tests.support.clock import NOW

BATCHES = 40
CHAT = {"event": "request_duo_chat_response", "user_id": 1}


def messages(number: int) -> list[dict[str, Any]]:
    """Returns messages with four events to store (one of them twice) and one to reject."""
    own_id = {"id": str(uuid4()), "timestamp": format_timestamp(NOW - timedelta(days=number))}
    placed = {"namespace": {"path": f"{number + 1}/", "full_path": f"group-{number}"}, "project_id": number + 1}
    troubleshoot = {"event": "troubleshoot_job", "user": {"id": number + 1, "username": f"user-{number}"}}
    bodies = [
        [CHAT, CHAT | placed, {"event": "unknown", "number": number}],
        CHAT | own_id,
        [CHAT | own_id, troubleshoot | {"job": {"id": 1, "project_id": number + 1}}],
    ]
    return [
        {
            "messageId": f"{number}-{position}",
            "body": json.dumps(body),
            "attributes": {"SentTimestamp": str(int(NOW.timestamp() * 1000)), "ApproximateReceiveCount": "1"},
        }
        for position, body in enumerate(bodies)
    ]


def test_a_consumer_that_is_killed_at_any_line_stores_every_event_once_in_the_end(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "batches.json"
    file.write_text(json.dumps([messages(number) for number in range(BATCHES)]))
    result = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_consumer", file],
        cwd=ROOT,
        # On macOS a forked process may not ask Kerberos, as libpq would.
        env=os.environ
        | {
            "DATABASE_URL": database_url,
            "QUEUE_URL": "http://127.0.0.1:9/events",
            "PYTHONPATH": str(ROOT),
            "PGGSSENCMODE": "disable",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.splitlines()[-1]) > BATCHES
    with psycopg.connect(database_url) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM ai_usage_events), (SELECT count(DISTINCT id) FROM ai_usage_events),"
            " (SELECT count(*) FROM rejected_events), (SELECT count(*) FROM users), (SELECT count(*) FROM namespaces)"
        ).fetchone()
    assert counts == (BATCHES * 4, BATCHES * 4, BATCHES, BATCHES, BATCHES)
