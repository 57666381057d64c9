"""The ingest API answers random requests as infra/openapi.yaml describes."""

import json
import os
import re
from typing import Any

import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from functions.graphql.export.answer import ROUTE as EXPORT
from functions.ingest.formats import gitlab
from functions.ingest.request import EVENTS_PATH
from tests.support.accounts import Query, assert_answered, assert_consumed
from tests.support.checkout import ROOT
from tests.support.gateway import Gateway
from tests.support.ways_in import WaysIn, token

GITLAB_PATHS = frozenset({gitlab.TRACK_EVENT_PATH, gitlab.TRACK_EVENTS_PATH})

COUNT = 1_000 if os.environ.get("SOAK") else 40  # requests to each endpoint, besides those that cover its description
NAMES = ["request_duo_chat_response", "troubleshoot_job", "code_suggestion_shown_in_ide", "elsewhere"]
NAMED_BY = {"Event": "event", "CloudEvent": "type", "TrackedEvent": "event"}
LINES = "application/x-ndjson"

# Why events may be rejected that are as the description says: what their names, times and texts are, who sends them,
# how an integer is written, and what contradicts itself.
UNSAID_CODES = {
    "deprecated_event",
    "forbidden_namespace",
    "invalid_text",
    "invalid_timestamp",
    "number_out_of_range",
    "timestamp_out_of_range",
    "unknown_event",
}
UNSAID = re.compile(
    "name different|is not the last|is not the namespace's id|data must be a JSON object|is longer than"
)


def described() -> Any:
    """Returns the description, changed so that defined names are as likely as others, and lines are events."""
    description = yaml.safe_load((ROOT / "infra" / "openapi.yaml").read_text())
    schemas = description["components"]["schemas"]
    for name, attribute in NAMED_BY.items():
        attributes = schemas[name]["properties"]
        attributes[attribute] = {"anyOf": [{"enum": NAMES}, attributes[attribute]]}
    bodies = description["paths"][EVENTS_PATH]["post"]["requestBody"]["content"]
    bodies[LINES]["schema"] = {"type": "array", "items": {"$ref": "#/components/schemas/AnyEvent"}}
    cloud_event = {"$ref": "#/components/schemas/CloudEvent"}
    bodies["application/cloudevents+json"]["schema"] = cloud_event
    bodies["application/cloudevents-batch+json"]["schema"] = {"type": "array", "maxItems": 10_000, "items": cloud_event}
    del description["paths"][EXPORT]  # which receives no events
    del description["servers"]  # whose paths begin with the stage
    return description


@schemathesis.serializer(LINES)
def lines_of(_: schemathesis.SerializationContext, events: Any) -> bytes:
    return b"\n".join(json.dumps(event).encode() for event in (events if isinstance(events, list) else [events]))


api = schemathesis.openapi.from_dict(
    described(),
    config=SchemathesisConfig.from_dict(
        {
            "generation": {"max-examples": COUNT},
            "phases": {"coverage": {"unexpected-methods": []}},  # which the gateway itself answers
            "analysis": {"constants": {"enabled": False}},
            "checks": {"negative_data_rejection": {"expected-statuses": [207, 400, 401, 413, 415]}},
        }
    ),
)
gateway = api.app = Gateway()


# A test for each path: those that schemathesis makes of one function share its id, and pytest-xdist runs one of them.


@settings(suppress_health_check=list(HealthCheck))
@api.include(path=EVENTS_PATH).parametrize()
def test_events_are_answered_as_the_description_says(case: schemathesis.Case[Any], ways: WaysIn, query: Query) -> None:
    assert_answered_as_described(case, ways, query)


@settings(suppress_health_check=list(HealthCheck))
@api.include(path=gitlab.TRACK_EVENT_PATH).parametrize()
def test_an_event_as_gitlab_has_it_is_answered_as_the_description_says(
    case: schemathesis.Case[Any], ways: WaysIn, query: Query
) -> None:
    assert_answered_as_described(case, ways, query)


@settings(suppress_health_check=list(HealthCheck))
@api.include(path=gitlab.TRACK_EVENTS_PATH).parametrize()
def test_events_as_gitlab_has_them_are_answered_as_the_description_says(
    case: schemathesis.Case[Any], ways: WaysIn, query: Query
) -> None:
    assert_answered_as_described(case, ways, query)


def test_every_path_is_tested() -> None:
    assert set(described()["paths"]) == {EVENTS_PATH, *GITLAB_PATHS}


def assert_answered_as_described(case: schemathesis.Case[Any], ways: WaysIn, query: Query) -> None:
    gateway.ways = ways
    ways.waiting.clear()
    credentials = {"Authorization": f"Bearer {token()}"}
    response = case.call(headers=credentials)
    answer = response.json()
    assert_answered(answer, ways.waiting)
    assert_consumed(ways, query)
    excluded: list[schemathesis.CheckFunction] = [positive_data_acceptance]
    if may_be_taken_though_it_is_not_as_described(case, answer):
        excluded.append(negative_data_rejection)
    case.validate_response(response, headers=credentials, excluded_checks=excluded)
    if case.meta and case.meta.generation.mode.is_positive:
        assert_rejected_for_what_no_schema_says(answer)


def may_be_taken_though_it_is_not_as_described(case: schemathesis.Case[Any], answer: Any) -> bool:
    """Whether a body that the description forbids may be accepted: some events are ignored, or the body is not JSON."""
    return case.path in GITLAB_PATHS or answer.get("ignored", 0) > 0 or case.media_type != "application/json"


def assert_rejected_for_what_no_schema_says(answer: Any) -> None:
    assert "message" not in answer
    for rejected in answer.get("rejected", []):
        assert rejected["code"] in UNSAID_CODES or UNSAID.search(rejected["message"]), rejected
