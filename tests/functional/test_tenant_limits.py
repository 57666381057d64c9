"""What a tenant may send by HTTPS: limits a minute and a day, counted by all instances together."""

import json
import re
import socket
import time
from collections.abc import Mapping
from copy import replace
from typing import Any

import boto3
import jwt
import pytest

from functions.ingest import limiter as limiter_module
from functions.ingest import shared_counter
from functions.ingest.api_handler import IngestHandler, build
from functions.ingest.limiter import REPORT_SECONDS, REPORTED_SHARE, Limiter, TooManyEvents
from functions.ingest.shared_counter import SharedCounter
from functions.shared import canary, settings
from functions.shared.grant import Grant
from functions.shared.setting_error import SettingError
from functions.shared.settings import AuthSettings
from functions.shared.tenant import CANARIES, tenant_group
from functions.shared.tenant_limits import DAY_SECONDS, Limits, TenantLimits, parse_own_limits
from infra.docs.deployment import template
from tests.support.consuming import ACCOUNT, Queues
from tests.support.counted_together import CountedTogether
from tests.support.emitted_metrics import emitted

SECRET = "a secret of thirty-two characters, at least"
TABLE = "counters"
NOON = 20_000 * DAY_SECONDS + DAY_SECONDS // 2
TENANT = Grant("5", ("events:write",), ("27/28/",))
OTHER = Grant("5", ("events:write",), ("9/",))
EVERYWHERE = Grant("1", ("events:write",), ("*",))
CHAT = {"event": "request_duo_chat_response", "user_id": 5}


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dynamodb(aws: None) -> Any:
    """A client of an account with the table as the template makes it."""
    client = boto3.client("dynamodb")
    properties = template()["Resources"]["TenantCounters"]["Properties"]
    client.create_table(
        TableName=TABLE,
        **{name: properties[name] for name in ("BillingMode", "AttributeDefinitions", "KeySchema")},
    )
    client.update_time_to_live(TableName=TABLE, TimeToLiveSpecification=properties["TimeToLiveSpecification"])
    return client


def limited(per_minute: int = 0, per_day: int = 0, **own: Limits) -> TenantLimits:
    return TenantLimits(Limits(per_minute, per_day), own, TABLE)


def sends(limiter: Limiter, events: int = 1, grant: Grant = TENANT) -> bool:
    """Whether a request with so many events is taken in."""
    try:
        limiter.require_room(grant)
    except TooManyEvents:
        return False
    limiter.count(grant, events)
    return True


def post(api: IngestHandler, events: int = 1, namespaces: tuple[str, ...] = ("27/",)) -> tuple[int, Mapping[str, Any]]:
    return post_events(api, [CHAT] * events, namespaces=namespaces)


def post_events(api: IngestHandler, events: list[Any], **claims: Any) -> tuple[int, Mapping[str, Any]]:
    own = {"sub": "5", "scope": "events:write", "namespaces": ["27/"], "exp": time.time() + 60} | claims
    headers = {"Authorization": f"Bearer {jwt.encode(own, SECRET)}", "Content-Type": "application/json"}
    answer = api({"headers": headers, "body": json.dumps(events), "resource": "/v1/events"}, None)
    return answer["statusCode"], answer


def test_a_tenant_at_its_limit_is_told_when_to_send_again_and_others_are_not(
    dynamodb: Any, queues: Queues, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3, limits=limited(100))
    assert api.limiter is not None
    api.limiter.now = clock
    clock.now += 15
    assert [post(api, 60)[0] for _ in range(3)] == [202, 202, 429]
    capsys.readouterr()
    status, answer = post(api)
    assert (status, answer["headers"]["Retry-After"]) == (429, "45")
    assert json.loads(answer["body"]) == {
        "message": "The limit of events in a minute is reached; send the request again after 45 s."
    }
    output = capsys.readouterr().out
    assert {(one.name, one.values) for one in emitted(output)} >= {("LimitedRequests", (1,)), ("RefusedRequests", (1,))}
    assert '"tenant":"27/"' in output
    assert post(api, 60, ("9/",))[0] == 202
    assert post(api, 1000, ("*",))[0] == 202
    clock.now += 45
    assert post(api)[0] == 202
    assert len(queues.records()) == 5  # what was answered as accepted


def test_a_request_is_taken_in_whole_or_not_at_all(queues: Queues) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    api.limiter = Limiter(limited(10), CountedTogether())
    assert json.loads(post(api, 500)[1]["body"])["accepted"] == 500
    assert post(api, 1)[0] == 429


def test_the_log_names_no_user_who_is_refused_nor_a_hash_of_one(
    queues: Queues, capsys: pytest.CaptureFixture[str]
) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    api.limiter = Limiter(limited(1), CountedTogether())
    assert [post_events(api, [CHAT], scope="events:write:own", namespaces=[])[0] for _ in range(2)] == [202, 429]
    output = capsys.readouterr()
    assert '"tenant":"user"' in output.out
    assert tenant_group(Grant("5", ("events:write:own",), ())) not in output.out + output.err


def test_what_the_queue_did_not_take_uses_up_no_limit(queues: Queues) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    api.limiter, intake = Limiter(limited(10), CountedTogether()), api.intake
    api.intake = replace(intake, send=lambda bodies, **_: set(range(len(bodies))))
    assert [post(api, 10)[0] for _ in range(3)] == [503] * 3
    api.intake = intake
    assert [post(api, 10)[0], post(api)[0]] == [202, 429]


def test_of_a_request_that_is_partly_queued_the_rest_uses_up_no_limit(queues: Queues) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    api.limiter, intake = Limiter(limited(10), CountedTogether()), api.intake
    api.intake = replace(intake, send=lambda bodies, **_: set(range(len(bodies) - 1)))
    large = [CHAT | {"extra": {"text": "x" * 60_000}}] * 9
    answers = [post_events(api, large) for _ in range(9)]
    assert {status for status, _ in answers} == {207}
    assert sum(json.loads(answer["body"])["accepted"] for _, answer in answers) == 9
    api.intake = intake
    assert [post(api)[0], post(api)[0]] == [202, 429]


def test_events_that_are_rejected_use_up_no_limit(queues: Queues) -> None:
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    api.limiter = Limiter(limited(10), CountedTogether())
    unknown = [{"event": "nobody_defined_this", "user_id": 5}] * 20
    assert [post_events(api, unknown)[0], post_events(api, [CHAT, *unknown])[0]] == [400, 207]
    assert [post(api, 9)[0], post(api)[0]] == [202, 429]


def test_instances_count_together_in_dynamodb(dynamodb: Any, clock: Clock) -> None:
    instances = [Limiter(limited(1000, 1500), SharedCounter(TABLE), clock) for _ in range(10)]
    taken = sum(sends(instances[number % 10], 3) for number in range(2000)) * 3
    assert 1000 <= taken <= 1000 + 10 * (1000 // REPORTED_SHARE + 3)
    clock.now += 60
    taken += sum(sends(instances[number % 10], 3) for number in range(2000)) * 3
    assert 1500 <= taken <= 1500 + 10 * (1500 // REPORTED_SHARE + 3)
    clock.now += DAY_SECONDS
    assert all(sends(instance) for instance in instances)
    items = dynamodb.scan(TableName=TABLE)["Items"]
    assert all(int(item["expires_at"]["N"]) > NOON for item in items)
    assert {item["id"]["S"].split()[0] for item in items} == {"27/"}


def test_an_instance_that_is_new_knows_what_the_others_took_in(clock: Clock) -> None:
    counter = CountedTogether()
    assert [sends(Limiter(limited(10), counter, clock), 5) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("seconds", [REPORT_SECONDS, REPORT_SECONDS * 3])
def test_few_events_are_reported_after_a_while(seconds: int, clock: Clock) -> None:
    counter = CountedTogether()
    instance = Limiter(limited(100_000), counter, clock)
    assert [sends(instance) for _ in range(5)] == [True] * 5
    assert (counter.calls, counter.events.total()) == (1, 0)
    clock.now += seconds - 0.1
    sends(instance)
    assert counter.calls == (1 if seconds == REPORT_SECONDS else 2)
    clock.now += seconds
    sends(instance)
    assert counter.events.total() == 6


def test_a_flood_costs_few_calls(clock: Clock) -> None:
    counter = CountedTogether()
    instance = Limiter(limited(1000), counter, clock)
    for _ in range(50_000):
        sends(instance)
    assert counter.calls <= REPORTED_SHARE + 1


def test_without_dynamodb_nobody_is_refused_because_of_it(
    clock: Clock, aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = SharedCounter("there is no such table")
    instance = Limiter(limited(1000), counter, clock)
    assert [sends(instance, 400) for _ in range(4)] == [True, True, True, False]  # the instance's own events count
    assert sends(instance, 401, OTHER)
    uncounted = [one.values for one in emitted(capsys.readouterr().out) if one.name == "UncountedEvents"]
    assert uncounted == [(400,), (400,), (400,), (401,)]  # the last ones while DynamoDB was not even asked
    calls: list[Any] = []
    monkeypatch.setattr(type(counter), "_client", property(lambda _: calls.append(1)))
    assert counter.add("27/", NOON, 60, 1) is None
    assert calls == []
    monkeypatch.setattr(shared_counter, "_SECONDS_AFTER_FAILURE", 0)
    with pytest.raises(AttributeError):
        counter.add("27/", NOON, 60, 1)


def test_a_counter_that_does_not_answer_is_given_up_in_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_counter._CONNECT_SECONDS + shared_counter._READ_SECONDS < 1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in ACCOUNT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert SharedCounter(TABLE).add("27/", NOON, 60, 1) is None
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()  # one attempt


def test_what_a_failed_report_may_have_counted_is_not_counted_twice(clock: Clock) -> None:
    counter = CountedTogether()
    instance = Limiter(limited(1000), counter, clock)
    sends(instance, 100)
    counter.is_reachable = False
    sends(instance, 100)
    counter.is_reachable = True
    sends(instance, 100)
    sends(instance, 100)
    assert counter.events.total() == 300


def test_the_memory_of_an_instance_is_bounded_however_many_tenants_there_are(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiter_module, "MAX_COUNTED_PERIODS", 100)
    instance = Limiter(limited(1000, 2000), CountedTogether(), clock)
    for number in range(1, 1000):
        assert sends(instance, 1, Grant("5", ("events:write",), (f"{number}/",)))
    assert len(instance._periods) == 100


@pytest.mark.parametrize("namespaces", [[], ["27/"], ["*"]])
def test_a_canary_is_never_limited_and_uses_up_nobodys_limit(namespaces: list[str], queues: Queues) -> None:
    api, counter = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3), CountedTogether()
    api.limiter = Limiter(limited(1, 1, **{"*": Limits(1), "27/": Limits(1)}), counter)
    for _ in range(3):
        assert post_events(api, [{"event": canary.NAME}], scope="canary", namespaces=namespaces)[0] == 202
    assert post_events(api, [{"event": canary.NAME}] * 2, scope="canary", namespaces=namespaces)[0] == 403
    assert (counter.calls, counter.events.total()) == (0, 0)
    assert {record["attributes"]["MessageGroupId"] for record in queues.records()} == {CANARIES}
    assert [post(api)[0], post(api)[0]] == [202, 429]


@pytest.mark.parametrize(
    ("grant", "own", "is_limited"),
    [
        (TENANT, {}, True),
        (EVERYWHERE, {}, False),
        (EVERYWHERE, {"*": Limits(2)}, True),
        (TENANT, {"27/": Limits()}, False),
        (Grant("5", ("events:write",), ("27/", "9/")), {"27/": Limits()}, True),
        (Grant("5", ("events:write",), ("27/", "9/")), {"27/,9/": Limits()}, False),
        (Grant("5", ("events:write:own",), ("*",)), {}, True),
        (Grant("5", ("events:write:own",), ()), {"*": Limits()}, True),
    ],
    ids=str,
)
def test_limits_are_those_of_the_senders_group(
    grant: Grant, own: dict[str, Limits], clock: Clock, *, is_limited: bool
) -> None:
    instance = Limiter(TenantLimits(Limits(2), own), CountedTogether(), clock)
    assert [sends(instance, 2, grant), sends(instance, 2, grant)] == [True, not is_limited]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("TENANT_EVENTS_PER_MINUTE", "TENANT_EVENTS_PER_DAY", "TENANT_LIMITS", "TENANT_COUNTERS_TABLE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_without_settings_nothing_is_limited(environment: pytest.MonkeyPatch, queues: Queues) -> None:
    assert not settings.tenant_limits()
    api = build(auth=AuthSettings(secret=SECRET), queue_url=queues.url, retention_months=3)
    assert replace(api).limiter is None


GOOD = {
    "": {},
    "27/:60000": {"27/": Limits(60000)},
    "27/:60000;9/:600:100000; *:0": {"27/": Limits(60000), "9/": Limits(600, 100000), "*": Limits()},
    "27/,9/:5:0;user-0123:7;": {"27/,9/": Limits(5), "user-0123": Limits(7)},
    "9/,27/:5;roots-0123:6": {"27/,9/": Limits(5), "roots-0123": Limits(6)},
}
BAD = ("27/", "27/=5", "27/:x", "27/:1:2:3", "27/:-1", "27/:1;27/:2", f"{'9' * 128}/:1", "27/:1 9/:1", ":5")
NOBODY = ("27:5", "27/28/:5", "27/,9:5", "gitlab-org/:5", "0/:5", "user:5", "none:5", "9/,27/:1;27/,9/:2")


@pytest.mark.parametrize("text", GOOD)
def test_limits_of_single_tenants_are_read(text: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TENANT_LIMITS", text)
    environment.setenv("TENANT_EVENTS_PER_MINUTE", "12")
    environment.setenv("TENANT_COUNTERS_TABLE", TABLE)
    assert settings.tenant_limits() == TenantLimits(Limits(12), GOOD[text], TABLE)


@pytest.mark.parametrize("text", [*BAD, *NOBODY])
def test_malformed_limits_are_refused_by_name(text: str) -> None:
    with pytest.raises(SettingError, match="TENANT_LIMITS"):
        parse_own_limits(text, "TENANT_LIMITS")


def test_the_template_takes_limits_that_the_function_takes() -> None:
    pattern = template()["Parameters"]["TenantLimits"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, text.replace(" ", "").removesuffix(";")) for text in GOOD)
    unlike = {"27/:1;27/:2", "9/,27/:1;27/,9/:2", BAD[6]}  # a pattern can't tell what is there twice, or is too long
    assert not any(re.fullmatch(pattern, text) for text in {*BAD, *NOBODY} - unlike)


@pytest.mark.parametrize(
    ("name", "value"),
    [("TENANT_EVENTS_PER_MINUTE", "x"), ("TENANT_EVENTS_PER_DAY", "-1"), ("TENANT_EVENTS_PER_DAY", "1e3")],
)
def test_a_limit_that_is_no_number_is_refused_by_name(name: str, value: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingError, match=name):
        settings.tenant_limits()


def test_limits_need_a_table(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TENANT_LIMITS", "27/:5")
    with pytest.raises(SettingError, match="TENANT_COUNTERS_TABLE"):
        settings.tenant_limits()
