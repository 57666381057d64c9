"""Publishers in processes that end, fork or freeze; and a program's default publisher."""

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from functions.ingest import publisher
from functions.ingest.publisher import HttpsDestination, Limits, QueueDestination, Stats, configure, default
from functions.ingest.publisher.default import destination_of_environment
from tests.support import checkout, documentation
from tests.support.faulty_api import HANG_SECONDS, TOKEN, FaultyApi, serve

LONG = 60.0
PREAMBLE = """
import atexit, gc, multiprocessing, os, sys, time
from functions.ingest.publisher import configure, flush, stats, track_event, HttpsDestination, Limits, Publisher
destination = HttpsDestination(os.environ["AI_USAGE_EVENTS_URL"], os.environ["AI_USAGE_EVENTS_TOKEN"])
"""


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with serve() as server:
        yield server


@pytest.fixture
def environment(api: FaultyApi) -> dict[str, str]:
    return {
        "AI_USAGE_EVENTS_URL": api.url,
        "AI_USAGE_EVENTS_TOKEN": TOKEN,
        "PYTHONPATH": str(checkout.ROOT),
        "PYTHONWARNINGS": "ignore::DeprecationWarning",  # of forks beside threads: that is what is tested
    }


def run(program: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PREAMBLE + program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONG, check=False)


def tracked(api: FaultyApi) -> list[Any]:
    """Returns what the accepted events say, sorted."""
    assert len(api.accepted) == len(set(api.accepted))
    return sorted(event["said"] for body in api.bodies for event in body)


def test_the_end_of_a_process_waits_for_its_events(api: FaultyApi, environment: dict[str, str]) -> None:
    result = run("for number in range(3): track_event('troubleshoot_job', said=number)", environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert tracked(api) == [0, 1, 2]


def test_events_are_sent_where_a_process_ends_by_an_error_or_tracks_at_its_end(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    program = """
atexit.register(track_event, "troubleshoot_job", said="at the end")
track_event("troubleshoot_job", said="before")
raise SystemExit(3)
"""
    assert run(program, environment).returncode == 3
    assert tracked(api) == ["at the end", "before"]
    assert run("atexit.register(track_event, 'troubleshoot_job', said='alone')", environment).returncode == 0
    assert tracked(api) == ["alone", "at the end", "before"]


@pytest.mark.parametrize(
    "program",
    [
        "for number in range(3): Publisher(destination).track_event('troubleshoot_job', said=number)",
        """
for number in range(3):
    configure(destination)
    track_event('troubleshoot_job', said=number)
configure(destination)
""",
        """
class Owner:
    def __init__(self): self.publisher, self.itself = Publisher(destination), self
for number in range(3): Owner().publisher.track_event('troubleshoot_job', said=number)
gc.collect()
""",
    ],
    ids=["dropped", "replaced", "found to be garbage"],
)
def test_what_a_publisher_that_is_gone_has_taken_is_sent(
    program: str, api: FaultyApi, environment: dict[str, str]
) -> None:
    api.fail(["500"] * 3)
    result = run(program, environment)
    assert result.returncode == 0
    assert "the process ends before all events are sent" not in result.stderr
    assert tracked(api) == [0, 1, 2]


def test_a_forked_process_knows_nothing_of_publishers_that_are_gone(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    api.fail(["500"])
    program = """
Publisher(destination).track_event("troubleshoot_job", said="parent")
child = os.fork()
if child == 0:
    Publisher(destination).track_event("troubleshoot_job", said="child")
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""
    result = run(program, environment)
    assert result.returncode == 0
    assert "the process ends" not in result.stderr
    assert tracked(api) == ["child", "parent"]


def test_a_server_that_does_not_answer_does_not_keep_a_process_from_its_end(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    api.fail(["hangs"] * 100)
    program = """
configure(HttpsDestination(os.environ["AI_USAGE_EVENTS_URL"], "x"), Limits(exit_seconds=0.2))
track_event("troubleshoot_job")
"""
    result = run(program, environment)
    assert result.returncode == 0
    assert "the process ends before all events are sent" in result.stderr
    assert "1 wait" in result.stderr


def test_a_server_that_does_not_answer_does_not_hold_up_what_goes_to_others(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    program = """
limits = Limits(batch_seconds=60, exit_seconds=2)
publishers = [Publisher(HttpsDestination(url, "x"), limits) for url in [*sys.argv[1:] * 5, destination.api_url]]
for publisher in publishers: publisher.track_event("troubleshoot_job", said="at the end")
"""
    with serve() as hanging:
        hanging.fail(["hangs"] * 100)
        result = run(program, environment, hanging.url)
    assert result.returncode == 0
    assert "the process ends before all events are sent" in result.stderr
    assert tracked(api) == ["at the end"]


def test_a_forked_process_sends_its_own_events_and_not_its_parents(api: FaultyApi, environment: dict[str, str]) -> None:
    program = """
track_event("troubleshoot_job", said="parent, sent")
assert flush(30)
track_event("troubleshoot_job", said="parent, waiting")
child = os.fork()
if child == 0:
    assert stats().settled + stats().waiting == 0
    track_event("troubleshoot_job", said="child")
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
track_event("troubleshoot_job", said="parent, afterwards")
assert flush(30)
assert stats().accepted == 3, stats()
"""
    result = run(program, environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert tracked(api) == ["child", "parent, afterwards", "parent, sent", "parent, waiting"]


def test_a_process_forked_while_others_track_neither_stops_nor_repeats(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    program = """
import threading
go_on = True
def track():
    while go_on:
        track_event("troubleshoot_job", said="parent")
        time.sleep(0.0001)
threads = [threading.Thread(target=track, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
for number in range(20):
    child = os.fork()
    if child == 0:
        track_event("troubleshoot_job", said=f"child {number:02}")
        os._exit(0 if flush(30) and stats().accepted == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
go_on = False
"""
    result = run(program, environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert [said for said in tracked(api) if said != "parent"] == [f"child {number:02}" for number in range(20)]


def test_processes_that_multiprocessing_forks_send_their_events_at_their_end(
    api: FaultyApi, environment: dict[str, str]
) -> None:
    program = """
track_event("troubleshoot_job", said="parent")
fork = multiprocessing.get_context("fork")
children = [fork.Process(target=track_event, args=["troubleshoot_job"], kwargs={"said": f"child {number}"})
            for number in range(3)]
for child in children: child.start()
for child in children: child.join()
"""
    result = run(program, environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert tracked(api) == ["child 0", "child 1", "child 2", "parent"]


def test_a_process_that_is_frozen_goes_on_where_it_was(api: FaultyApi, environment: dict[str, str]) -> None:
    api.fail(["", "hangs"])
    program = """
for said in ("first", "second"):
    track_event("troubleshoot_job", said=said)
    flush(0.3)
print("frozen", flush=True)
sys.stdin.read()
track_event("troubleshoot_job", said="third")
assert flush(30)
assert stats().accepted == 3, stats()
"""
    command = [sys.executable, "-c", PREAMBLE + program]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"frozen\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * HANG_SECONDS)  # meanwhile the server ends the connection
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=LONG)
    assert process.returncode == 0
    assert tracked(api) == ["first", "second", "third"]


@pytest.mark.parametrize("_", range(3))
def test_a_killed_process_has_sent_each_event_at_most_once(_: int, api: FaultyApi, environment: dict[str, str]) -> None:
    program = """
for number in range(10**9):
    track_event("troubleshoot_job", said=number)
    time.sleep(0.001)
    if number % 50 == 0: flush(30)
"""
    command = [sys.executable, "-c", PREAMBLE + program]
    api.fail(["", "answer is cut", "500", "reset"])
    with subprocess.Popen(command, env=environment) as process:
        while len(api.bodies) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    events = [event for body in list(api.bodies) for event in body]
    assert len({event["said"] for event in events}) == len({event["id"] for event in events})
    assert all(len(ways) == 1 for ways in list(api.written.values()))


def test_to_publish_by_https_takes_nothing_but_msgspec(environment: dict[str, str]) -> None:
    program = """
track_event("troubleshoot_job")
assert flush(30)
print(*sorted({name.partition(".")[0] for name, module in sys.modules.items()
               if "site-packages" in (getattr(module, "__file__", None) or "")}))
"""
    result = run(program, environment)
    assert set(result.stdout.split()) <= {"msgspec", "typing_extensions"}, result.stderr


@pytest.fixture
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default, "_made", {})


@pytest.mark.parametrize(
    ("variables", "destination"),
    [
        ({default.URL: "https://a", default.TOKEN: "t"}, HttpsDestination("https://a", "t")),
        ({default.QUEUE_URL: "https://q"}, QueueDestination("https://q")),
        ({}, None),
        ({default.URL: "https://a"}, None),
        ({default.URL: "https://a", default.TOKEN: "t", default.QUEUE_URL: "https://q"}, None),
        ({default.URL: "nowhere", default.TOKEN: "t"}, None),
    ],
)
def test_the_environment_says_where_events_go(
    variables: dict[str, str], destination: Any, no_default: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if destination is not None:
        assert destination_of_environment() == destination
        return
    with pytest.raises(ValueError, match=r"AI_USAGE_EVENTS_|URL"):
        destination_of_environment()


def test_a_program_that_was_told_no_destination_goes_on_and_counts(
    no_default: None, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.track_event("troubleshoot_job")
    assert publisher.flush(LONG)
    assert publisher.stats() == Stats(rejected=1, reasons={"not_configured": 1})
    assert "AI_USAGE_EVENTS_URL" in caplog.text


@pytest.mark.parametrize("failing", ["handler", "import"])
def test_what_a_program_has_set_up_badly_is_never_raised(
    failing: str, no_default: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AttributeError("of another version")

    if failing == "handler":
        monkeypatch.setattr(logging.Logger, "warning", fail)
    else:
        monkeypatch.setattr(default, "QueueDestination", fail)
        monkeypatch.setenv(default.QUEUE_URL, "https://q")
    publisher.track_event("troubleshoot_job")
    assert publisher.flush(LONG)
    assert publisher.stats() == Stats(rejected=1, reasons={"not_configured": 1})


def test_a_new_destination_does_not_lose_what_is_on_its_way_to_the_old(api: FaultyApi, no_default: None) -> None:
    with serve() as old:
        old.fail(["500", "500"])
        configure(HttpsDestination(old.url, TOKEN), Limits(first_pause_seconds=0.01))
        publisher.track_event("troubleshoot_job", said="to the old")
        in_another_thread = default._made[default._DEFAULT]
        configure(HttpsDestination(api.url, TOKEN))
        in_another_thread.track_event("troubleshoot_job", said="to the old, late")
        del in_another_thread
        publisher.track_event("troubleshoot_job", said="to the new")
        assert publisher.flush(LONG)
        give_up = time.monotonic() + LONG
        while len(old.accepted) < 2 and time.monotonic() < give_up:
            time.sleep(0.01)
        assert (tracked(old), tracked(api)) == (["to the old", "to the old, late"], ["to the new"])


def test_the_documented_example_works_as_it_stands(
    api: FaultyApi, no_default: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = documentation.section(documentation.DOCS / "howto" / "send.md", "From Python")
    monkeypatch.setenv(default.URL, api.url)
    monkeypatch.setenv(default.TOKEN, TOKEN)
    (example,) = documentation.blocks(section, "python")
    exec(example, {})  # noqa: S102 - it is ours
    assert publisher.stats() == Stats(accepted=2)
    assert {f"`{name}`" for name in (default.URL, default.TOKEN, default.QUEUE_URL)} <= set(
        re.findall(r"`[A-Z_]+`", section)
    )
