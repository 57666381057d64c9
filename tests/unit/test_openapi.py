"""infra/openapi.yaml, compared with the ingest API."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from cfnlint.decode import cfn_yaml
from graphql import GraphQLObjectType
from openapi_spec_validator import validate

from functions.graphql.export.answer import ROUTE as EXPORT
from functions.graphql.schema import executable_schema
from functions.ingest.api_handler import STATUSES
from functions.ingest.contract import MAX_EVENTS, MAX_ID, Answer, Namespace, Project, User
from functions.ingest.event.attributes import BaseAttributes
from functions.ingest.formats import gitlab
from functions.ingest.formats.body import JSON_TYPES, LINE_TYPES
from functions.ingest.formats.cloud_event import CloudEvent
from functions.ingest.formats.table import PATHS, events_of, format_of
from functions.ingest.request import EVENTS_PATH, Request
from functions.shared.catalog import registry
from tests.support.checkout import ROOT

GITLAB_PATHS = frozenset({gitlab.TRACK_EVENT_PATH, gitlab.TRACK_EVENTS_PATH})


@pytest.fixture(scope="module")
def described() -> Any:
    return yaml.safe_load((ROOT / "infra" / "openapi.yaml").read_text())


def received(described: Any) -> dict[str, Any]:
    """Returns the paths that receive events."""
    return {path: methods for path, methods in described["paths"].items() if path != EXPORT}


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def at(described: Any, reference: str) -> Any:
    part = described
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def test_it_is_openapi(described: Any) -> None:
    validate(described)


def test_what_it_refers_to_is_there_and_all_of_it_is_used(described: Any) -> None:
    used = set(references(described))
    there = {f"#/components/{kind}/{name}" for kind, parts in described["components"].items() for name in parts}
    assert used == {reference for reference in there if "/securitySchemes/" not in reference}
    assert all(at(described, reference) for reference in used)
    assert described["openapi"] == "3.1.0"


def test_it_has_the_routes_of_the_function_in_the_template(described: Any) -> None:
    events = cfn_yaml.load(str(ROOT / "infra" / "template.yaml"))["Resources"]["IngestFunction"]["Properties"]["Events"]
    routes = {(event["Properties"]["Path"], event["Properties"]["Method"].lower()) for event in events.values()}
    preflights = {(path, "options") for path in PATHS}
    assert preflights < routes
    routes -= preflights  # only browsers send those
    assert {(path, method) for path, methods in received(described).items() for method in methods} == routes
    assert {path for path, _ in routes} == PATHS


def test_an_export_takes_the_filters_of_graphql(described: Any) -> None:
    template = cfn_yaml.load(str(ROOT / "infra" / "template.yaml"))
    events = template["Resources"]["GraphqlFunction"]["Properties"]["Events"].values()
    assert (EXPORT, "GET") in {(event["Properties"]["Path"], event["Properties"]["Method"]) for event in events}
    data = executable_schema(registry.load()).type_map["AiUsageData"]
    assert isinstance(data, GraphQLObjectType)
    filters = set(data.fields["all"].args) - {"first", "after", "last", "before"}
    parameters = {parameter["name"] for parameter in described["paths"][EXPORT]["get"]["parameters"]}
    assert parameters == filters | {"format", "namespace", "spreadsheetSafe"}


def test_it_has_the_statuses_that_are_answered(described: Any) -> None:
    refused = {str(status) for status in STATUSES.values()}
    by_the_gateway = {"429", "504"}
    for path, methods in received(described).items():
        accepted = "200" if path in GITLAB_PATHS else "202"  # GitLab says by another status that all is well
        assert methods["post"]["responses"].keys() == {"207", accepted} | refused | by_the_gateway


def test_it_has_the_types_of_bodies_that_are_taken(described: Any) -> None:
    types = described["paths"][EVENTS_PATH]["post"]["requestBody"]["content"].keys()
    assert types <= JSON_TYPES | LINE_TYPES
    assert {name for name in JSON_TYPES if name.endswith("+json")} < types


def test_only_one_type_of_body_has_a_schema_that_generated_clients_read(described: Any) -> None:
    # A client for several types would tell their bodies apart by `isinstance`, which Python refuses for lists.
    for methods in received(described).values():
        content = methods["post"]["requestBody"]["content"]
        read = [
            name for name, one in content.items() if name.endswith("json") and "ndjson" not in name and "schema" in one
        ]
        assert read == ["application/json"]


def test_every_operation_says_what_it_is_for(described: Any) -> None:
    tags = {tag["name"] for tag in described["tags"] if tag["description"]}
    for methods in received(described).values():
        assert methods["post"]["description"]
        assert methods["post"]["summary"]
        assert set(methods["post"]["tags"]) <= tags
    assert described["info"]["description"]
    assert described["info"]["contact"]


def test_an_answer_has_the_fields_that_it_says(described: Any) -> None:
    _, answers = msgspec.json.schema_components([Answer], ref_template="#/components/schemas/{name}")
    for name, schema in answers.items():
        said = described["components"]["schemas"][name]
        assert without_words(said["properties"]) == without_words(schema["properties"])
        assert set(said["required"]) == schema["properties"].keys()  # an answer has them all
    assert described["components"]["schemas"]["Ok"]["properties"]["status"]["const"] == gitlab.OK["status"]


def without_words(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: without_words(inner) for key, inner in schema.items() if key not in ("description", "default")}
    return [without_words(inner) for inner in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("Event", BaseAttributes),
        ("User", User),
        ("Namespace", Namespace),
        ("Project", Project),
        ("TrackedEvent", gitlab.TrackedEvent),
        ("TrackedEvents", gitlab.TrackedEvents),
    ],
)
def test_an_event_has_the_attributes_that_are_read(name: str, read: type[msgspec.Struct], described: Any) -> None:
    schema = described["components"]["schemas"][name]
    fields = msgspec.structs.fields(read)
    properties = set(schema["properties"])
    if name == "Event":  # which a generated client would else make an internal event of
        properties |= described["components"]["schemas"]["InternalEvent"]["allOf"][1]["properties"].keys()
    assert properties == {field.encode_name for field in fields}
    assert set(schema.get("required", [])) == {field.encode_name for field in fields if field.required}


def test_a_cloud_event_has_the_attributes_that_are_read(described: Any) -> None:
    schema = described["components"]["schemas"]["CloudEvent"]
    assert schema["properties"].keys() | {"event"} == set(CloudEvent.__struct_encode_fields__)


def test_its_limits_are_those_of_the_code(described: Any) -> None:
    text = (ROOT / "infra" / "openapi.yaml").read_text()
    assert {int(limit) for limit in re.findall(r"maxItems: ([0-9]+)", text)} == {MAX_EVENTS}
    assert described["components"]["schemas"]["LooseId"]["anyOf"][0]["maximum"] == MAX_ID


def test_its_examples_are_taken(described: Any) -> None:
    for path, methods in received(described).items():
        for media_type, content in methods["post"]["requestBody"]["content"].items():
            if "example" in content:
                headers = {"content-type": media_type}
                request = Request(path, headers, json.dumps(content["example"]), is_base64=False)
                assert events_of(request, format_of(request)).refused == {}
