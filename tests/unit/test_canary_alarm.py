"""What canaries of different times do to their alarm."""

import json
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from functions.canary.canary import Canary
from functions.canary.handler import CanaryHandler
from tests.support.checkout import ROOT
from tests.support.cloudwatch import Metrics, load_alarms, raised
from tests.support.emitted_metrics import emitted
from tests.support.lambda_context import FakeContext
from tests.support.watched import PARAMETERS

EVERY_SECONDS = 300
MINUTE = 60
ALARMS = {
    name: alarm for name, alarm in load_alarms(ROOT / "infra" / "alarms.yaml", PARAMETERS).items() if "Canary" in name
}


def flown(begin: float, seconds: float) -> float:
    """Lets a canary take so many seconds until both stores show it; returns when it ended."""
    now = begin

    def post(url: str, body: Any, token: str) -> dict[str, Any]:
        if url.endswith("/v1/events"):
            return {"accepted": 1, "ids": ["1"]}
        is_shown = now - begin >= seconds
        return {"data": {"canaryEvent": {"postgresql": is_shown, "clickhouse": is_shown}}}

    def sleep(pause: float) -> None:
        nonlocal now
        now += pause

    canary = Canary("https://api", lambda: "token", post, sleep, lambda: now)
    CanaryHandler(Logger(level="CRITICAL"), canary, lambda: now)({}, FakeContext())
    return now


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_NAME", PARAMETERS["StackName"])
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "canary")


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        ([5] * 8, set()),
        ([5, 5, 5, 70, 5, 5, 5, 5], set()),
        ([5, 5, 5, 110, 5, 5, 5, 5], set()),
        ([5, 5, 5, 70, 70, 5, 5, 5], {"CanaryAlarm"}),
        ([5, 5, 5, 70, 5, 70, 5, 5], {"CanaryAlarm"}),
    ],
)
def test_two_of_three_canaries_have_to_be_slow(
    took: list[float], expected: set[str], environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: list[tuple[float, str]] = []
    for number, seconds in enumerate(took):
        end = flown(number * EVERY_SECONDS + 10, seconds)
        ends.append((end, capsys.readouterr().out))
    found = set[str]()
    for now in range(3 * EVERY_SECONDS, len(took) * EVERY_SECONDS, MINUTE):
        metrics = Metrics()
        for end, output in ends:
            if end > now:
                continue
            (line,) = [json.loads(text) for text in output.splitlines() if "CloudWatchMetrics" in text]
            for one in emitted(output):
                metrics.record("AiUsageEvents", one.name, one.dimensions, line["_aws"]["Timestamp"] / 1000, *one.values)
        found |= raised(ALARMS, metrics, now)
    assert found == expected
