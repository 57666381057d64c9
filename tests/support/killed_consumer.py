"""Passes messages to a consumer that is killed at a random line, then to another one.

Takes a file with batches of messages as Lambda passes them. Each batch is delivered to processes that die at random
lines, then completely; prints the number of deaths.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from functions.ingest.consumer import handler

OWN_CODE = str(Path(__file__).parents[2] / "functions")
DEATHS_PER_BATCH = 2


class Died(Exception):
    """The consumer was killed."""


def at_each_line(reach: Callable[[], None]) -> Any:
    """Returns a trace function that calls `reach` at each line of the project's own code."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OWN_CODE):
            return None
        if event == "line":
            reach()
        return trace

    return trace


def deliver(records: list[Any], die_at: int | None = None) -> int:
    """Consumes the messages in a new process, and returns the number of executed lines.

    Raises:
        Died: the process was killed at the line `die_at`.
    """
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        lines = 0

        def reach() -> None:
            nonlocal lines
            lines += 1
            if lines == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.settrace(at_each_line(reach))
        answer = handler({"Records": records}, None)
        sys.settrace(None)
        os.write(write, str(lines).encode())
        os._exit(len(answer["batchItemFailures"]))
    os.close(write)
    status = os.waitpid(process, 0)[1]
    with os.fdopen(read) as pipe:
        said = pipe.read()
    if os.WIFSIGNALED(status):
        raise Died
    assert status == 0, "the consumer reported failures"
    return int(said)


def main() -> None:
    batches: list[list[Any]] = json.loads(Path(sys.argv[1]).read_text())
    chance = random.Random(1)
    lines = deliver(batches[0])
    deaths = 0
    for records in batches[1:]:
        for _ in range(DEATHS_PER_BATCH):
            try:
                deliver(records, chance.randint(1, lines))
            except Died:
                deaths += 1
        deliver(records)
    print(deaths)


if __name__ == "__main__":
    main()
