"""A deployment that can't work: the function of the migrations says why, and the stack is rolled back."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from infra.local import deploy, ports
from tests.e2e.conftest import Stack
from tests.e2e.faults import without_postgres
from tests.e2e.parameters import deployed, update
from tests.e2e.use import logged, rows

REQUEST = {"RequestType": "Update", "StackId": "stack", "RequestId": "request", "LogicalResourceId": "Migrations"}


class CloudFormation(HTTPServer):
    """Keeps the answers that are put to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Put)
        self.answers: list[Any] = []


class _Put(BaseHTTPRequestHandler):
    server: CloudFormation

    def do_PUT(self) -> None:
        self.server.answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def cloudformation() -> Iterator[CloudFormation]:
    with CloudFormation() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def migrations(stack: Stack) -> Iterator[Any]:
    """Invokes the function with changed settings, and returns its answer to CloudFormation."""
    lambdas = deploy.client("lambda", stack.aws_endpoint_url)
    (function,) = [
        one
        for one in lambdas.list_functions()["Functions"]
        if one["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == "migrations"
    ]
    name, variables = function["FunctionName"], function["Environment"]["Variables"]

    def answer(**changes: str) -> Any:
        lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables | changes})
        with cloudformation() as server:
            url = f"http://127.0.0.1:{server.server_port}"
            lambdas.invoke(FunctionName=name, Payload=json.dumps(REQUEST | {"ResponseURL": url}).encode())
            (found,) = server.answers
        return found

    yield answer
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


def test_the_deployed_migrations_name_what_keeps_a_deployment_from_working(stack: Stack, migrations: Any) -> None:
    secret = deploy.put_secret(
        "without-an-address", json.dumps({"username": "a", "password": "b"}), stack.aws_endpoint_url
    )
    closed = deploy.put_secret("of-nobody", f"postgresql://a:b@127.0.0.1:{ports.free()}/c", stack.aws_endpoint_url)
    releases = rows(stack, "SELECT count(*) FROM releases")
    for arn, reason in ((secret, "DATABASE_HOST"), (closed, "can't be reached: Connection refused")):
        answer = migrations(DATABASE_SECRET_ARN=arn)
        assert answer["Status"] == "FAILED"
        assert reason in answer["Reason"]
    assert rows(stack, "SELECT count(*) FROM releases") == releases
    assert migrations()["Status"] == "SUCCESS"


def test_a_deployment_that_fails_without_postgresql_is_rolled_back(stack: Stack) -> None:
    before = deployed(stack)
    changed = before | {"MigrationsTotalTimeout": "3000"}
    with without_postgres(stack):
        assert update(stack, changed) == "UPDATE_ROLLBACK_COMPLETE"
    assert deployed(stack) == before
    assert any("The rollback left" in line for line in logged(stack, "MigrationsLogs"))
    assert [update(stack, parameters) for parameters in (changed, before)] == ["UPDATE_COMPLETE"] * 2
