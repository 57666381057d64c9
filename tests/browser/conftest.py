"""A Chromium for all tests of pages, and pages that fail their test when something is wrong in them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import jwt
import pytest
from playwright.sync_api import Browser, Page, Request

from functions.graphql.handler import GraphqlHandler
from infra import front_end
from infra.local import browser as chromium
from tests.support.graphql import SECRET, built
from tests.support.page_server import serving

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

OUTPUT = Path(".local", "screenshots")
WIDTHS = {390: 844, 1280: 800, 1920: 1080}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_SECONDS = 30

type OpenPage = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder with Chromium and axe."""
    if missing := chromium.what_is_missing():
        if os.environ.get("CHROMIUM"):
            pytest.fail(missing)
        pytest.skip(missing)
    return chromium.install()


@pytest.fixture(scope="session")
def running_browser(installed: Path) -> Iterator[Browser]:
    """A Chromium without a window."""
    with chromium.launched(installed) as browser:
        yield browser


@pytest.fixture(scope="session")
def pages() -> Path:
    """The folder with the built pages."""
    return front_end.built()


@pytest.fixture
def handler(database_url: str, pages: Path) -> Iterator[GraphqlHandler]:
    """The function behind `/graphql` and `/dashboard`, reading from PostgreSQL."""
    with built(database_url, pages=pages) as handler:
        yield handler


@pytest.fixture
def address(handler: GraphqlHandler) -> Iterator[str]:
    """The address of the API for the browser."""
    with serving(handler) as address:
        yield address


@pytest.fixture
def open_page(running_browser: Browser, address: str) -> Iterator[OpenPage]:
    """Returns a function that opens a page; its console must stay empty, and it must load nothing from elsewhere.

    With `may_fail`, the page may say so, and requests may fail.
    """
    wrong: list[str] = []

    @contextmanager
    def opened(
        path: str,
        width: int = 1280,
        scheme: Any = "light",
        *,
        token: str | None = None,
        may_fail: bool = False,
        **options: Any,
    ) -> Iterator[Page]:
        size: ViewportSize = {"width": width, "height": WIDTHS.get(width, 800)}
        context = running_browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB", **options)
        context.set_default_timeout(_SECONDS * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: _note_foreign(request.url, address, wrong))
        if not may_fail:
            page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
            page.on("requestfailed", lambda request: _note_failed(request, wrong))
        if token:
            page.add_init_script(f"sessionStorage.setItem('token', {json.dumps(token)})")
        try:
            page.goto(f"{address}{path}")
            yield page
        finally:
            context.close()

    yield opened
    assert wrong == []


def _note_foreign(url: str, address: str, wrong: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("data", "blob") and not url.startswith(f"{address}/"):
        wrong.append(f"asks for {url}")


def _note_failed(request: Request, wrong: list[str]) -> None:
    """Notes a request that failed, unless the page gave it up because the reader went on."""
    if not (request.url.endswith("/graphql") and request.failure == "net::ERR_ABORTED"):
        wrong.append(f"{request.url}: {request.failure}")


def token_for(*namespaces: str, sub: str = "1", scope: str = "events:read") -> str:
    """A token for the namespaces; for all where none is named."""
    claims = {"sub": sub, "scope": scope, "namespaces": namespaces or ["*"], "exp": time.time() + 3600}
    return jwt.encode(claims, SECRET)


def wait_until_read(page: Page) -> None:
    """Waits until the dashboard has its panels, and everything that they ask for."""
    page.locator(".panels .panel").first.wait_for()
    page.locator("progress").wait_for(state="detached")
    page.wait_for_load_state("networkidle")


def take_picture(page: Page, name: str) -> None:
    """Saves what the page shows, for whoever looks at the tests' output."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)


def serious_problems(page: Page, installed: Path) -> list[str]:
    """What axe finds on the page that is serious or worse, with the elements."""
    page.evaluate((installed / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run().then(result => result.violations)")
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
