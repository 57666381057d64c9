"""GraphQL over HTTP: the audits of https://github.com/graphql/graphql-http, by their ids, and what else it asks for."""

import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.graphql.media_type import GRAPHQL_RESPONSE, JSON
from tests.support.graphql import SECRET

TYPENAME = {"query": "{ __typename }"}
NAMED = {"operationName": "Query", "query": "query Query { __typename }"}
TYPE = {"query": "query Type($name: String!) { __type(name: $name) { name } }", "variables": {"name": "sometype"}}
INVALID_TEXTS: list[Any] = [{"obj": "ect"}, 0, False, ["array"]]
INVALID_MAPS: list[Any] = ["string", 0, False, ["array"]]
OPTIONAL = ["variables", "operationName", "extensions"]
NOT_JSON = '{ "not a JSON'


class Audit:
    """A request of the audits, and what they want of the answer.

    Attributes:
        accept: the header; None for a request without it.
        errors: whether the answer has errors; then it must have no data.
    """

    def __init__(
        self,
        body: Any,
        accept: str | None,
        status: int = 200,
        *,
        errors: bool = False,
        content_type: str | None = JSON,
        answered: str = JSON,
    ) -> None:
        self.body = body if isinstance(body, str | None) else json.dumps(body)
        self.accept, self.status, self.errors = accept, status, errors
        self.content_type, self.answered = content_type, answered


def refused(body: Any, *, strict: bool) -> Audit:
    """A request that is not executed: 400 for who accepts GraphQL's own type, else 200."""
    accept = GRAPHQL_RESPONSE if strict else JSON
    return Audit(body, accept, 400 if strict else 200, errors=True, answered=accept)


AUDITS: dict[str, Audit] = {
    "22EB": Audit(TYPENAME, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE),
    "4655": Audit(TYPENAME, JSON),
    "47DE": Audit(TYPENAME, "*/*"),
    "82A3": Audit(TYPENAME, None),
    "BF61": Audit(TYPENAME, None, content_type="application/json; charset=utf-8"),
    "78D5": Audit(TYPENAME, None),
    "2C94": Audit(TYPENAME, None),
    "9ABE": Audit(None, None, 415, content_type=None),
    "03D4": Audit(TYPENAME, None),
    "7267": Audit(None, None, 400, errors=True),
    "6610": refused({"notquery": "{ __typename }"}, strict=True),
    "3715": refused({"notquery": "{ __typename }"}, strict=False),
    **{f"4F5{index}": refused({"query": value}, strict=True) for index, value in enumerate(INVALID_TEXTS)},
    **{f"9FE{index}": refused({"query": value}, strict=False) for index, value in enumerate(INVALID_TEXTS)},
    "34A2": Audit(TYPENAME, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE),
    "13EE": Audit(TYPENAME, JSON),
    **{f"E3E{i}": refused(TYPENAME | {"operationName": value}, strict=True) for i, value in enumerate(INVALID_TEXTS)},
    **{f"FB9{i}": refused(TYPENAME | {"operationName": value}, strict=False) for i, value in enumerate(INVALID_TEXTS)},
    "8161": Audit(NAMED, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE),
    "B8B3": Audit(NAMED, JSON),
    **{
        f"94B{i}": Audit(TYPENAME | {name: None}, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE)
        for i, name in enumerate(OPTIONAL)
    },
    **{f"022{i}": Audit(TYPENAME | {name: None}, JSON) for i, name in enumerate(OPTIONAL)},
    **{f"69B{i}": refused(TYPENAME | {"variables": value}, strict=True) for i, value in enumerate(INVALID_MAPS)},
    **{f"F05{i}": refused(TYPENAME | {"variables": value}, strict=False) for i, value in enumerate(INVALID_MAPS)},
    "2EA1": Audit(TYPE, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE),
    "28B9": Audit(TYPE, JSON),
    **{f"904{i}": refused(TYPENAME | {"extensions": value}, strict=True) for i, value in enumerate(INVALID_MAPS)},
    **{f"368{i}": refused(TYPENAME | {"extensions": value}, strict=False) for i, value in enumerate(INVALID_MAPS)},
    "428F": Audit(TYPENAME | {"extensions": {"some": "value"}}, GRAPHQL_RESPONSE, answered=GRAPHQL_RESPONSE),
    "1B7A": Audit(TYPENAME | {"extensions": {"some": "value"}}, JSON),
    "D477": refused(NOT_JSON, strict=False),
    "F5AF": refused({"qeury": "{ __typename }"}, strict=False),
    "572B": refused({"query": "{"}, strict=False),
    "FDE2": refused({"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"}, strict=False),
    "60AA, 2163": refused(NOT_JSON, strict=True),
    "3E36, 17C5, 34D6": refused({"qeury": "{ __typename }"}, strict=True),
    "865D, 556A, D586": refused({"query": "{"}, strict=True),
    "51FE, 74FF, 5E5B": refused({"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"}, strict=True),
    # What the audits can't ask for, as no schema is known to them.
    "unknown operation": refused(TYPENAME | {"operationName": "Other"}, strict=True),
    "two operations": refused({"query": "query A { __typename } query B { __typename }"}, strict=True),
    "missing variable": refused({"query": TYPE["query"]}, strict=True),
    "wrong variable": refused({"query": TYPE["query"], "variables": {"name": 1}}, strict=True),
    "huge number": refused(
        {"query": "{ aiInstanceUsageData { all(first: %s) { count } } }" % ("1" * 5_000)}, strict=True
    ),
    "mutation": refused({"query": "mutation { __typename }"}, strict=True),
    "malformed, any type": Audit({"query": 5}, "*/*", 400, errors=True),
    "malformed, no type": Audit(TYPENAME | {"variables": []}, None, 400, errors=True),
    "invalid, no type": Audit({"query": "{ a }"}, None, 200, errors=True),
    "byte order mark": Audit("\ufeff" + json.dumps(TYPENAME), JSON),
}


def headers(accept: str | None, content_type: str | None) -> dict[str, str]:
    claims = {"sub": "1", "scope": "events:read", "namespaces": ["*"], "exp": time.time() + 60}
    sent = {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}", "Accept": accept, "Content-Type": content_type}
    return {name: value for name, value in sent.items() if value is not None}


def post(api: GraphqlHandler, body: str | None, sent: Mapping[str, str]) -> dict[str, Any]:
    return api({"httpMethod": "POST", "headers": sent, "body": body, "isBase64Encoded": False}, None)


@pytest.mark.parametrize("name", AUDITS)
def test_a_request_is_answered_as_the_audits_want_it(name: str, api: GraphqlHandler) -> None:
    audit = AUDITS[name]
    answer = post(api, audit.body, headers(audit.accept, audit.content_type))
    content = json.loads(answer["body"])
    assert answer["statusCode"] == audit.status, content
    assert answer["headers"]["Content-Type"].partition(";")[0] == audit.answered
    if audit.status != 415:
        assert content.keys() - {"extensions"} == {"errors" if audit.errors else "data"}
        assert "sys." not in answer["body"]


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/graphql-response+json, application/json;q=0.9", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json", JSON),
        ("application/json;q=0.8, Application/GraphQL-Response+JSON; q=0.9", GRAPHQL_RESPONSE),
        ("application/graphql-response+json;charset=utf-8, */*;q=0.1", GRAPHQL_RESPONSE),
        ("application/graphql-response+json;q=0, application/json", JSON),
        ("*/*, application/graphql-response+json", JSON),
        ("application/*", JSON),
        ("text/html, image/png", JSON),
        ("application/graphql-response+json;q=x", JSON),
        ("", JSON),
        (",;,", JSON),
    ],
)
def test_an_answer_has_the_type_that_the_client_prefers(accept: str, answered: str, api: GraphqlHandler) -> None:
    answer = post(api, json.dumps(TYPENAME), headers(accept, JSON))
    assert answer["headers"]["Content-Type"].partition(";")[0] == answered
    assert json.loads(answer["body"])["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=a",
        "application/graphql",
        "application/jsonx",
        "application/json; charset=utf-16",
        "application/json; charset=latin1",
    ],
)
def test_a_body_of_another_type_is_refused(content_type: str | None, api: GraphqlHandler) -> None:
    answer = post(api, json.dumps(TYPENAME), headers(None, content_type))
    assert answer["statusCode"] == 415
    assert json.loads(answer["body"]) == {"message": "Send queries with Content-Type: application/json, in UTF-8."}


@pytest.mark.parametrize("content_type", ['application/json;charset="UTF-8"', "Application/JSON ; charset=utf8"])
def test_a_body_in_utf_8_is_taken_however_its_type_is_written(content_type: str, api: GraphqlHandler) -> None:
    assert post(api, json.dumps(TYPENAME), headers(None, content_type))["statusCode"] == 200


def test_a_partly_failed_query_is_answered_with_its_data(api: GraphqlHandler) -> None:
    query = "{ aiInstanceUsageData { all(first: -1) { count } } }"
    answer = post(api, json.dumps({"query": query}), headers(GRAPHQL_RESPONSE, JSON))
    content = json.loads(answer["body"])
    assert (answer["statusCode"], content["data"]) == (200, None)
    assert content["errors"][0]["path"] == ["aiInstanceUsageData", "all"]


def test_an_apollo_client_is_told_to_send_the_text_of_a_persisted_query(api: GraphqlHandler) -> None:
    body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "a"}}}
    (error,) = json.loads(post(api, json.dumps(body), headers(None, JSON))["body"])["errors"]
    assert error["extensions"] == {"code": "PERSISTED_QUERY_NOT_SUPPORTED"}
