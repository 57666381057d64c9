"""The session of AWS that functions use."""

import boto3
import pytest

from functions.shared import aws


@pytest.mark.parametrize("service", aws.SERVICES)
def test_the_clients_of_a_function_are_those_that_boto3_makes(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    own, plain = (session.client(service).meta for session in (aws.session(), boto3.Session()))  # type: ignore[call-overload]
    assert own.service_model.metadata == plain.service_model.metadata
    assert (own.endpoint_url, own.region_name) == (plain.endpoint_url, plain.region_name)
