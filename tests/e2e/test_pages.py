"""The pages through the deployed stack."""

import re

import httpx
import pytest

from tests.e2e.conftest import Stack


def test_the_dashboard_is_served_with_its_files(stack: Stack) -> None:
    page = httpx.get(f"{stack.api_url}/dashboard", timeout=60)
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    for file in re.findall(r'(?:src|href)="\./([^"]+)"', page.text):
        answer = httpx.get(f"{stack.api_url}/{file}", timeout=60)
        assert (answer.status_code, "immutable" in answer.headers["Cache-Control"]) == (200, True)
        known = {"If-None-Match": answer.headers["ETag"]}
        again = httpx.get(f"{stack.api_url}/{file}", headers=known, timeout=60)
        assert (again.status_code, again.content) == (304, b"")


def test_graphiql_is_at_the_address_of_queries(stack: Stack) -> None:
    page = httpx.get(f"{stack.api_url}/graphql", timeout=60)
    assert page.status_code == 200
    assert "./dashboard/assets/" in page.text


@pytest.mark.parametrize(
    "below",
    ["assets/%2e%2e/%2e%2e/handler.py", "..%2f..%2fhandler.py", "assets/none.js", "%00", "assets%5c..%5chandler.py"],
)
def test_no_path_through_the_gateway_leads_to_another_file(stack: Stack, below: str) -> None:
    answer = httpx.get(f"{stack.api_url}/dashboard/{below}", timeout=60)
    assert answer.status_code in (400, 403, 404)
    assert "import" not in answer.text
