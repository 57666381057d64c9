"""Pages that show names, values and answers that nobody expects."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from playwright.sync_api import Page, Route
from psycopg.types.json import Json

from functions.graphql.handler import GraphqlHandler
from functions.shared.identifier import derived_id
from tests.browser.conftest import OpenPage, serious_problems, take_picture, token_for, wait_until_read
from tests.support.clock import NOW
from tests.support.definitions import answer_with, load_from
from tests.support.graphql import SECRET

NOTES = """
    class Note(Payload):
        \"\"\"What a note carries.\"\"\"

        text: str | None = None
        number: int | None = None

    feature = Feature("notes", owner="a team of <b>many</b>", payload=Note)
    feature.events(note_written=1)
    feature.metric("greatestNumber", max="number", description="<script>window.hacked = 1</script>")
"""
SCRIPT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
RIGHT_TO_LEFT = "\u05e9\u05dc\u05d5\u05dd \u202eabc"
LONG = "a long text " * 850
GREATEST = 2**63 - 1


@pytest.fixture
def insert(handler: GraphqlHandler, database_url: str, folder: Path) -> Any:
    """Gives the function a definition; returns a function that stores events with these payloads."""
    answer_with(load_from(folder, notes=NOTES), handler)

    def inserted(*payloads: dict[str, Any], path: str = "27/28/") -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for number, payload in enumerate(payloads):
                moment = NOW - timedelta(minutes=number + 1)
                connection.execute(
                    "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
                    " VALUES (%s, %s, 1, %s, %s, %s)",
                    [derived_id(moment, "hostile", number), moment, GREATEST - number % 3, path, Json(payload)],
                )

    return inserted


def wait_for_events(page: Page, count: int) -> None:
    """Waits until a feature's page has this number of events."""
    page.locator('[data-metric="totalEventCount"] .value').get_by_text(str(count), exact=True).wait_for()


def too_wide(page: Page) -> Any:
    """The elements that reach beyond the window, and make it scroll sideways."""
    return page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] :
            [...document.querySelectorAll("body *")]
                .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest(".scroll"))
                .map((each) => each.outerHTML.slice(0, 200))"""
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_names_and_values_are_text_whatever_they_hold(
    width: int, insert: Any, database_url: str, open_page: OpenPage, installed: Path
) -> None:
    texts = [SCRIPT, RIGHT_TO_LEFT, LONG, "", "=1+1", "a:eq:1", '"\\', "%_&?#"]
    insert(*({"text": text, "number": GREATEST - index} for index, text in enumerate(texts)))
    with psycopg.connect(database_url, autocommit=True) as connection:
        for user, name in ((GREATEST, SCRIPT), (GREATEST - 1, RIGHT_TO_LEFT), (GREATEST - 2, "u" * 255)):
            connection.execute("INSERT INTO users (id, username) VALUES (%s, %s)", [user, name])
        connection.execute("INSERT INTO namespaces (id, path, full_path) VALUES (28, '27/28/', %s)", [f"a/{SCRIPT}"])
    for path in ("/dashboard", "/dashboard?feature=notes", f"/dashboard?user={GREATEST}"):
        with open_page(path, width, token=token_for()) as page:
            wait_until_read(page)
            take_picture(page, f"hostile-{path.partition('?')[2].partition('=')[0] or 'overview'}-{width}")
            assert page.evaluate("window.hacked") is None
            assert too_wide(page) == []
            assert serious_problems(page, installed) == []
            assert page.get_by_text(SCRIPT).count() > 0
            if "notes" in path:
                assert page.locator('[data-metric="greatestNumber"] .value').inner_text() == f"{GREATEST:,}"


def test_each_value_of_a_payload_leads_to_its_events(insert: Any, open_page: OpenPage) -> None:
    texts = [SCRIPT, RIGHT_TO_LEFT, LONG, "", "=1+1", "a:eq:1", '"\\', "%_&?#"]
    insert(*({"text": text, "number": GREATEST - index} for index, text in enumerate(texts)))
    with open_page("/dashboard?feature=notes", token=token_for()) as page:
        wait_until_read(page)
        for index in range(len(texts)):
            page.locator("#breakdown .bars a").nth(index).click()
            wait_for_events(page, 1)
            assert page.locator(".problem").count() == 0, texts[index][:20]
            page.go_back()
            wait_for_events(page, len(texts))
            page.locator("#breakdown .bars a").nth(len(texts) - 1).wait_for()


@pytest.mark.parametrize("count", [0, 1])
def test_pages_of_hardly_any_events_say_so(count: int, insert: Any, open_page: OpenPage, installed: Path) -> None:
    insert(*({"text": "alone"} for _ in range(count)))
    for name in ("", "feature=notes", "user=7"):
        with open_page(f"/dashboard?{name}", token=token_for()) as page:
            wait_until_read(page)
            take_picture(page, f"events-{count}-{name.partition('=')[0] or 'overview'}")
            assert page.locator(".problem").count() == 0
            assert serious_problems(page, installed) == []


def test_a_token_without_namespaces_shows_no_events_and_says_so(insert: Any, open_page: OpenPage) -> None:
    insert({"text": "of others"})
    claims = {"sub": "7", "scope": "events:read", "namespaces": [], "exp": time.time() + 60}
    for path in ("/dashboard", "/dashboard?feature=notes", "/dashboard?user=7"):
        with open_page(path, token=jwt.encode(claims, SECRET), may_fail=True) as page:
            page.locator(".panels .nothing, .problem, .token-form .problem:not(:empty)").first.wait_for()
            take_picture(page, f"no-namespaces-{path.partition('?')[2].partition('=')[0] or 'overview'}")
            assert page.get_by_text("of others").count() == 0


@pytest.mark.parametrize(
    "search",
    [
        "feature=nothing",
        "user=abc",
        "user=99999999999999999999",
        "namespace=no/such/one",
        "feature=notes&where={{{&where=%7B%22any%22:[]%7D&by=%22&days=1e9#%E0%A4%A",
        "feature=notes&by=a..b[",
        "feature=notes&metric=nothing&group=nothing&compare=nothing",
        "start=0001-01-01&end=9999-12-31",
    ],
)
def test_a_broken_address_says_what_is_wrong_or_is_as_usual(search: str, insert: Any, open_page: OpenPage) -> None:
    insert({"text": "alone"})
    with open_page(f"/dashboard?{search}", token=token_for()) as page:
        page.locator(".panels .panel, .problem").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert page.locator("nav").count() == 1
        assert page.locator(".problem, .panels").count() > 0


def test_a_token_that_expires_is_asked_for_again_and_the_page_stays(insert: Any, open_page: OpenPage) -> None:
    insert({"text": "alone"})
    with open_page("/dashboard?days=7", token=token_for(), may_fail=True) as page:
        wait_until_read(page)
        page.evaluate("sessionStorage.setItem('token', 'expired')")
        page.route("**/graphql", lambda route: route.fulfill(status=401, body=json.dumps({"message": "It expired."})))
        page.get_by_role("combobox", name="Compare with").select_option("none")
        page.get_by_text("It expired.").wait_for()
        page.unroute("**/graphql")
        page.get_by_label("Token").fill(token_for())
        page.get_by_role("button", name="Continue").click()
        wait_until_read(page)
        assert page.url.endswith("?days=7&compare=none")


def test_an_error_of_one_field_leaves_the_other_pictures(insert: Any, open_page: OpenPage) -> None:
    insert({"text": "alone"})

    def fail(route: Route) -> None:
        if "aiUsageTiers" in (route.request.post_data or "") or "aiInstanceUsageTiers" in (
            route.request.post_data or ""
        ):
            route.fulfill(status=200, body=json.dumps({"data": None, "errors": [{"message": "It is broken."}]}))
        else:
            route.continue_()

    with open_page("/dashboard?days=7", token=token_for()) as page:
        wait_until_read(page)
        page.route("**/graphql", fail)
        page.get_by_role("combobox", name="Period", exact=True).select_option("28")
        page.locator("#tiers .problem").wait_for()
        wait_until_read(page)
        assert page.locator("#tiers .problem").inner_text().startswith("It is broken.")
        assert page.locator(".panel .problem").count() == 1
        assert page.locator("#totals .value").first.inner_text() == "1"


def test_a_slow_answer_shows_that_it_is_waited_for(insert: Any, open_page: OpenPage) -> None:
    insert({"text": "alone"})
    held: list[Route] = []
    with open_page("/dashboard", token=token_for()) as page:
        wait_until_read(page)
        page.route("**/graphql", lambda route: held.append(route))
        page.get_by_role("combobox", name="Period", exact=True).select_option("7")
        page.locator("progress").wait_for()
        page.get_by_text("Reading: 0 of").wait_for()
        for route in held:
            route.continue_()
        page.unroute("**/graphql")
        wait_until_read(page)


def test_back_and_forward_show_the_pages_that_were_there(insert: Any, open_page: OpenPage) -> None:
    insert({"text": "alone"})
    with open_page("/dashboard", token=token_for()) as page:
        wait_until_read(page)
        page.get_by_role("link", name="Notes").first.click()
        wait_until_read(page)
        page.get_by_role("combobox", name="Period", exact=True).select_option("90")
        wait_until_read(page)
        page.go_back()
        wait_until_read(page)
        assert page.get_by_role("combobox", name="Period", exact=True).input_value() == "28"
        page.go_back()
        page.get_by_role("heading", name="Overview").wait_for()
        page.go_forward()
        page.get_by_role("heading", name="Notes").first.wait_for()
        wait_until_read(page)


def test_filters_nest_with_the_keyboard_alone(insert: Any, open_page: OpenPage, installed: Path) -> None:
    insert({"text": "one"}, {"text": "two", "number": 2}, {"text": "three", "number": 3})
    with open_page("/dashboard?feature=notes", 390, token=token_for()) as page:
        wait_until_read(page)
        page.get_by_role("combobox", name="Only events whose").focus()
        page.keyboard.type("text")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("one")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")  # in a group, of which at least one must pass
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_for_events(page, 1)
        page.get_by_role("button", name="Add to this group").press("Enter")
        page.keyboard.type("number")
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")  # greater than
        page.keyboard.press("Tab")
        page.keyboard.type("2")
        page.keyboard.press("Enter")
        wait_for_events(page, 2)
        take_picture(page, "filters-390")
        assert serious_problems(page, installed) == []
        page.reload()
        wait_until_read(page)
        page.get_by_label("How many must pass").select_option("none")
        wait_for_events(page, 1)
