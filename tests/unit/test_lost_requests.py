"""Which accepted requests were never consumed, by the logs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.operations.lost_requests import AcceptedRequest, Requests, by_tenant


def accepted(request_id: str, events: int, tenant: str = "27/", milliseconds: int = 1_796_000_000_000) -> str:
    metrics = {"_aws": {"Timestamp": milliseconds}, "AcceptedEvents": events}
    return json.dumps(metrics | {"tenant": tenant, "request_id": request_id})


def consumed(*request_ids: str) -> str:
    return json.dumps({"message": "consumed", "requests": request_ids})


def test_a_request_is_lost_if_no_batch_names_it_in_whatever_order_the_lines_are() -> None:
    requests = Requests()
    requests.read([consumed("b", "d"), accepted("a", 2), accepted("b", 3), accepted("c", 4, "31/", 1_795_000_000_000)])
    assert requests.lost() == [
        AcceptedRequest("c", datetime.fromtimestamp(1_795_000_000, UTC), "31/", 4),
        AcceptedRequest("a", datetime.fromtimestamp(1_796_000_000, UTC), "27/", 2),
    ]
    assert by_tenant(requests.lost()) == {"27/": (1, 2), "31/": (1, 4)}


@pytest.mark.parametrize(
    "line",
    [
        "START RequestId: 5 Version: $LATEST",
        "{not JSON",
        '{"message": "refused", "request_id": "a"}',
        '{"_aws": {"Timestamp": 1}, "AcceptedEvents": 5, "tenant": "queue"}',
        '["{}"]',
    ],
)
def test_other_lines_count_for_nothing(line: str) -> None:
    requests = Requests()
    requests.read([line])
    assert requests == Requests()


@pytest.mark.parametrize(
    ("logs", "exit_code", "said"),
    [
        ([b"\x1f\x8b\xff no log"], 1, "These logs have no accepted request"),
        ([consumed("a").encode()], 1, "These logs have no accepted request"),
        ([accepted("a", 2).encode()], 0, "These logs have no consumed request"),
        ([accepted("a", 2).encode(), consumed("a").encode()], 0, "0 of 1 accepted requests were never consumed"),
    ],
    ids=["compressed", "without ingest", "without consumer", "both"],
)
def test_the_command_says_which_log_is_missing(logs: list[bytes], exit_code: int, said: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.log" for number in range(len(logs))]
    for file, content in zip(files, logs, strict=True):
        file.write_bytes(content)
    result = CliRunner().invoke(app, ["lost-requests", *map(str, files)])
    assert (result.exit_code, said in result.output) == (exit_code, True)


def test_a_line_may_begin_with_the_time_that_a_tool_puts_there() -> None:
    requests = Requests()
    requests.read([f"2026-11-30T09:00:00.000Z {accepted('a', 1)}"])
    assert list(requests.accepted) == ["a"]
