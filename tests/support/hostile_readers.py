"""Readers of one tenant that send as many queries as they can, each in a process of its own.

`python -m tests.support.hostile_readers NAMESPACE START` writes `ready` when loaded, waits for a line, sends queries
until it is killed, and writes a line for each answer: the messages of its errors.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jwt

from tests.support.checkout import ROOT
from tests.support.graphql import SECRET

READERS = 8

HEAVY_QUERY = """
    query ($path: ID!, $start: Date) { namespace(fullPath: $path) { aiUsage(
        startDate: $start, groupBy: [USER, DAY, EVENT], payloadGroupBy: ["language", "suggestion_size"], first: 10,
        payload: [{path: "suggestion_size", gt: 1}, {path: "language", ne: "cobol"}]
    ) { totalCount usersCount } } }
"""


def request(namespace: str, query: str, **variables: Any) -> dict[str, Any]:
    """Returns a reader's query as API Gateway passes it to the function."""
    claims = {"sub": "1", "scope": "events:read", "namespaces": [namespace], "exp": time.time() + 3600}
    return {
        "httpMethod": "POST",
        "headers": {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}", "Content-Type": "application/json"},
        "body": json.dumps({"query": query, "variables": {"path": namespace, **variables}}),
        "isBase64Encoded": False,
    }


@contextmanager
def hostile_readers(
    namespace: str, start: str, database_url: str, clickhouse_url: str = ""
) -> Iterator[Sequence[list[str]]]:
    """Runs eight readers while the block runs; yields the growing list of each reader's error messages."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "CLICKHOUSE_URL": clickhouse_url,
        "AUTH_SECRET": SECRET,
        "LOG_LEVEL": "CRITICAL",
    }
    command = [sys.executable, "-m", "tests.support.hostile_readers", namespace, start]
    readers = [
        subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(READERS)
    ]
    told: list[list[str]] = [[] for _ in readers]
    threads = [
        threading.Thread(target=_listen, args=(reader, lines)) for reader, lines in zip(readers, told, strict=True)
    ]
    try:
        for reader in readers:  # none begins before all are loaded
            assert reader.stdout is not None
            if reader.stdout.readline() != "ready\n":
                raise RuntimeError("A reader did not start")
        for reader, thread in zip(readers, threads, strict=True):
            assert reader.stdin is not None
            reader.stdin.write("go\n")
            reader.stdin.flush()
            thread.start()
        yield told
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
        for reader in readers:
            for stream in (reader.stdin, reader.stdout):
                if stream is not None:
                    stream.close()


def _listen(reader: "subprocess.Popen[str]", lines: list[str]) -> None:
    assert reader.stdout is not None
    lines.extend(line.strip() for line in reader.stdout if not line.startswith('{"_aws"'))  # metrics


def main(namespace: str, start: str) -> None:
    """Sends queries until the process is killed."""
    from functions.graphql import api

    event = request(namespace, HEAVY_QUERY, start=start)
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        answer = json.loads(api.handler(event, None)["body"])
        print(*(error["message"] for error in answer.get("errors", ())), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
