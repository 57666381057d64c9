"""The dashboard and GraphiQL, as the function serves them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.graphql.handler import GraphqlHandler
from tests.support.graphql import built

SCRIPT = "dashboard/assets/index-BkNN9xly.js"
HOSTILE = [
    "../index.html",
    "..%2findex.html",
    "assets/../../index.html",
    "assets/..\\..\\index.html",
    "/etc/passwd",
    "//etc/passwd",
    "assets//etc/passwd",
    "assets/",
    "assets",
    "assets/.",
    "assets/index-BkNN9xly.js/",
    "assets/index-BkNN9xly.js\0",
    "assets/index-BkNN9xly.js\0.css",
    "assets/./index-BkNN9xly.js",
    "assets/INDEX-BKNN9XLY.JS",
    "assets/secret.env",
    "assets/outside.txt",
    "\ud800",
    "",
    "x" * 100_000,
    "$(id)",
    "{path}",
]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[GraphqlHandler]:
    """A function whose package holds two pages and what lies around them."""
    folder = tmp_path / "pages"
    (folder / "dashboard" / "assets").mkdir(parents=True)
    (folder / "index.html").write_text('<script type="module" src="./dashboard/assets/index-BkNN9xly.js"></script>')
    (folder / "graphiql.html").write_text("<title>Try queries</title>")
    (folder / SCRIPT).write_text('console.log("é")')
    (folder / "dashboard" / "assets" / "secret.env").write_text("PASSWORD=secret")
    (tmp_path / "outside.txt").write_text("secret")
    with built("postgresql://127.0.0.1:1/none", pages=folder) as handler:
        yield handler


def get(handler: GraphqlHandler, path: str = "/dashboard", **changes: Any) -> dict[str, Any]:
    """Sends what API Gateway makes of a request, and returns the answer."""
    first, _, below = path.removeprefix("/").partition("/")
    event = {
        "httpMethod": "GET",
        "resource": f"/{first}/{{path+}}" if below else f"/{first}",
        "path": path,
        "pathParameters": {"path": below} if below else None,
        "headers": None,
    }
    answer = handler(event | changes, None)
    del answer["headers"]["X-Request-Id"]  # each answer has another
    return answer


@pytest.mark.parametrize("path", ["/dashboard", "/graphql", f"/{SCRIPT}"])
def test_a_page_needs_no_token_and_loads_nothing_from_elsewhere(pages: GraphqlHandler, path: str) -> None:
    answer = get(pages, path)
    policy = dict(part.strip().partition(" ")[::2] for part in answer["headers"]["Content-Security-Policy"].split(";"))
    assert answer["statusCode"] == 200
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert {name: sources for name, sources in policy.items() if "'self'" in sources} == {
        "script-src": "'self'",
        "style-src": "'self' 'unsafe-inline'" if path == "/graphql" else "'self'",
        "img-src": "'self' data:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self'",
    }
    assert answer["headers"]["X-Content-Type-Options"] == "nosniff"
    assert answer["headers"]["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("path", "content_type", "kept"),
    [
        ("/dashboard", "text/html; charset=utf-8", "no-cache"),
        ("/graphql", "text/html; charset=utf-8", "no-cache"),
        (f"/{SCRIPT}", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
    ],
)
def test_a_browser_keeps_what_has_a_hash_in_its_name_and_asks_again_for_pages(
    pages: GraphqlHandler, path: str, content_type: str, kept: str
) -> None:
    headers = get(pages, path)["headers"]
    assert (headers["Content-Type"], headers["Cache-Control"]) == (content_type, kept)


@pytest.mark.parametrize("path", ["/dashboard", "/graphql", f"/{SCRIPT}"])
def test_a_browser_that_has_the_file_is_sent_no_body(pages: GraphqlHandler, path: str) -> None:
    first = get(pages, path)
    tag = first["headers"]["ETag"]
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = get(pages, path, headers={"if-none-match": known})
        assert (again["statusCode"], again["body"], again["headers"]) == (304, "", first["headers"])
    assert get(pages, path, headers={"If-None-Match": '"other"'})["statusCode"] == 200


@pytest.mark.parametrize("path", ["/dashboard", "/graphql", f"/{SCRIPT}"])
def test_head_answers_as_get_without_the_body(pages: GraphqlHandler, path: str) -> None:
    assert get(pages, path, httpMethod="HEAD") == get(pages, path) | {"body": ""}


def test_a_file_is_sent_as_text_which_the_gateway_compresses(pages: GraphqlHandler) -> None:
    answer = get(pages, f"/{SCRIPT}")
    assert answer["body"] == 'console.log("é")'
    assert "isBase64Encoded" not in answer


@pytest.mark.parametrize("below", HOSTILE, ids=range(len(HOSTILE)))
def test_no_path_leads_to_another_file(pages: GraphqlHandler, below: str) -> None:
    event = {"resource": "/dashboard/{path+}", "pathParameters": {"path": below}}
    answer = get(pages, "/dashboard/any", **event)
    assert answer["statusCode"] == 404
    assert json.loads(answer["body"]) == {"message": "There is no such page."}


def test_an_address_with_a_slash_at_its_end_leads_to_the_one_without(pages: GraphqlHandler) -> None:
    answer = get(pages, "/dashboard/", resource="/dashboard", pathParameters=None)
    assert (answer["statusCode"], answer["headers"]["Location"]) == (308, "../dashboard")


def test_the_dashboard_is_not_written_to(pages: GraphqlHandler) -> None:
    answer = get(pages, httpMethod="POST")
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD")


def test_a_function_without_pages_says_so_and_answers_queries(tmp_path: Path) -> None:
    with built("postgresql://127.0.0.1:1/none", pages=tmp_path / "missing") as handler:
        for path in ("/dashboard", "/graphql"):
            answer = get(handler, path)
            assert answer["statusCode"] == 404
            assert "not built" in json.loads(answer["body"])["message"]
        assert get(handler, "/graphql", httpMethod="POST")["statusCode"] == 401
