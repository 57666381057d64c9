"""The pages in a real Chromium."""

from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Locator
from psycopg.types.json import Json

from functions.graphql.handler import GraphqlHandler
from functions.shared.identifier import derived_id
from tests.browser.conftest import SCHEMES, WIDTHS, OpenPage, serious_problems, take_picture, token_for, wait_until_read
from tests.support.clock import NOW
from tests.support.definitions import answer_with, load_from

REVIEWS = """
    class Review(Payload):
        \"\"\"What a review carries.\"\"\"

        review: int
        comments: int | None = None
        language: str | None = None
        cost: float | None = None
        minutes: int | None = None
        text: str | None = None

    feature = Feature("reviews", owner="review", payload=Review, session_key="review")
    feature.events(review_begun=1, review_ended=2)
    feature.sessions(begins=["review_begun"], ends=["review_ended"])
    feature.metric("begunCount", events=["review_begun"], description="Reviews that were begun.")
    feature.metric("commentsSum", sum="comments", description="Comments in all reviews.")
    feature.metric("cost", sum="cost", unit="EUR", description="What `cost` adds up to.")
    feature.metric("p50", quantile=0.5, of="minutes", unit="min")
"""
BEGUN, ENDED = 41, 17
EXACT = 9_007_199_254_740_993  # a double can't hold it
COMMENTS = EXACT + 2 * ENDED


@pytest.fixture
def reviews(handler: GraphqlHandler, database_url: str, folder: Path) -> None:
    """Gives the function a new definition, with events of the last days."""
    answer_with(load_from(folder, reviews=REVIEWS), handler)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(BEGUN + ENDED):
            event, comments = (1, 0) if number < BEGUN else (2, 2)
            payload: dict[str, Any] = {
                "review": number % BEGUN,
                "language": "ruby" if number % 3 else "go",
                "comments": comments,
            }
            payload["cost"], payload["minutes"] = 0.5, number % 3
            if number == 57:
                payload["text"] = "long " * 2000
            if number == 0:
                payload["comments"] = EXACT
            moment = NOW - timedelta(days=number % 6 if number < BEGUN else 0, minutes=1)
            connection.execute(
                "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                [
                    derived_id(moment, "test", number),
                    moment,
                    event,
                    1 + number % 5,
                    "27/28/",
                    Json(payload),
                ],
            )


PAGES = {"overview": "/dashboard", "feature": "/dashboard?feature=reviews", "user": "/dashboard?user=1"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_without_fault_at_every_width_in_light_and_dark(
    name: str, reviews: None, open_page: OpenPage, installed: Path
) -> None:
    for width in WIDTHS:
        with open_page(PAGES[name], width, token=token_for()) as page:
            wait_until_read(page)
            page.locator(".panels svg").first.wait_for()
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                take_picture(page, f"{name}-{width}-{scheme}")
                assert serious_problems(page, installed) == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_new_definition_has_its_figures_drawn(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard?feature=reviews&days=7", token=token_for()) as page:
        wait_until_read(page)
        figures = {
            each.get_attribute("data-metric"): each.locator(".value").inner_text()
            for each in page.locator(".figure").all()
        }
        assert figures["totalEventCount"] == str(BEGUN + ENDED)
        assert figures["begunCount"] == str(BEGUN)
        assert figures["commentsSum"] == f"{COMMENTS:,}"
        assert (figures["cost"], figures["p50"]) == (f"€{(BEGUN + ENDED) / 2:.2f}", "1\N{NO-BREAK SPACE}min")
        assert page.locator('[data-metric="cost"] .about').inner_text() == "What cost adds up to."
        assert page.locator('[data-metric="cost"] .about code').inner_text() == "cost"
        assert (figures["sessionsCount"], figures["completionRate"]) == (str(BEGUN), f"{ENDED / BEGUN:.1%}")
        assert (figures["abandonmentRate"], figures["openRate"]) == ("0%", f"{1 - ENDED / BEGUN:.1%}")
        by_language = page.locator("#breakdown .bars li")
        drawn = {
            each.locator(".label").inner_text(): (each.locator(".number").inner_text(), width_of(each.locator(".bar")))
            for each in by_language.all()
        }
        assert {language: count for language, (count, _) in drawn.items()} == {"ruby": "38", "go": "20"}
        assert drawn["go"][1] / drawn["ruby"][1] == pytest.approx(20 / 38, abs=0.02)


def test_a_metric_has_its_unit_on_its_chart_and_in_its_table(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard?feature=reviews&metric=p50&days=7", token=token_for()) as page:
        wait_until_read(page)
        ticks = page.locator('#course svg [data-label="y-axis tick label"] text').all_text_contents()
        assert ticks
        assert all(tick.endswith("\N{NO-BREAK SPACE}min") for tick in ticks)
        page.locator("#course").get_by_role("button", name="Table").click()
        assert page.locator("#course th").all_inner_texts() == ["Day", "P50 (min)"]


def test_a_long_value_of_a_payload_is_shown_in_full_on_demand(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard?feature=reviews&days=7", token=token_for()) as page:
        wait_until_read(page)
        value = page.locator("#newest dd", has_text="long long").first
        assert len(value.locator("span").inner_text()) < 250
        value.get_by_role("button", name="All 10,000 characters").click()
        assert value.locator("span").inner_text() == "long " * 2000
        value.get_by_role("button", name="Shorten").click()
        assert len(value.locator("span").inner_text()) < 250


def test_the_axis_of_one_event_has_no_fractions(
    handler: GraphqlHandler, database_url: str, open_page: OpenPage
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, %s, 6, 1, '{}')",
            [derived_id(NOW, "one", 1), NOW - timedelta(minutes=1)],
        )
    with open_page("/dashboard", token=token_for()) as page:
        wait_until_read(page)
        for panel in ("#events", "#active-users"):
            ticks = page.locator(f'{panel} svg [data-label="y-axis tick label"] text').all_text_contents()
            assert ticks == ["0", "1"], panel


def test_a_token_for_ones_own_events_shows_these_alone(reviews: None, open_page: OpenPage, installed: Path) -> None:
    token = token_for("3/", sub="2", scope="events:read:own")  # the events lie elsewhere
    own = sum(1 + number % 5 == 2 for number in range(BEGUN + ENDED))
    for path in ("/dashboard", "/dashboard?feature=reviews", "/dashboard?user=1", "/dashboard?namespace=27/28/"):
        with open_page(path, token=token) as page:
            wait_until_read(page)
            take_picture(page, f"own-{path.partition('?')[2].partition('=')[0] or 'overview'}")
            assert str(BEGUN + ENDED) not in [text.strip() for text in page.locator(".value").all_inner_texts()]
            assert page.get_by_role("link", name="user 3").count() == 0
            if path == "/dashboard?feature=reviews":
                assert page.locator('[data-metric="totalEventCount"] .value').inner_text() == str(own)
            assert serious_problems(page, installed) == []


def width_of(element: Locator) -> float:
    """The width that an element is drawn in."""
    box = element.bounding_box()
    assert box is not None
    return box["width"]


def test_without_a_token_the_page_asks_for_one_and_keeps_it_for_both_pages(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard") as page:
        page.get_by_label("Token").fill(token_for())
        page.get_by_role("button", name="Continue").click()
        page.locator(".panels svg").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.goto(page.url.replace("/dashboard", "/graphql"))
        page.locator(".graphiql-container").wait_for()


def test_queries_are_tried_in_graphiql(reviews: None, open_page: OpenPage, installed: Path) -> None:
    for width, scheme in product(WIDTHS, SCHEMES):
        with open_page("/graphql", width, scheme, token=token_for()) as page:
            page.locator(".graphiql-query-editor .view-line").first.wait_for()
            page.locator(".graphiql-execute-button").click()
            page.locator(".result-window").get_by_text("REVIEW_").first.wait_for()
            take_picture(page, f"graphiql-{width}-{scheme}")
            assert serious_problems(page, installed) == []


def test_graphiql_shows_every_digit_of_an_integer(reviews: None, open_page: OpenPage) -> None:
    with open_page("/graphql", 1920, token=token_for()) as page:
        page.locator(".graphiql-query-editor .view-line").first.wait_for()
        page.locator(".graphiql-query-editor .view-line").first.click()
        page.keyboard.press("ControlOrMeta+A")
        page.keyboard.insert_text("{ aiInstanceMetrics { reviews { commentsSum } } }")
        page.keyboard.press("Delete")  # the bracket that the editor adds
        page.locator(".graphiql-execute-button").click()
        page.locator(".result-window").get_by_text(str(COMMENTS)).wait_for()


def test_sessions_are_drawn_by_what_the_reader_chooses(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard?feature=reviews&days=7", token=token_for()) as page:
        wait_until_read(page)
        begun = {"ruby": "27 · 40.7%", "go": "14 · 42.9%"}
        assert texts_of(page.locator("#sessions-by .bars li")) == begun
        page.locator("#breakdown").get_by_label("Group by").select_option("event")
        page.locator("#breakdown").get_by_text("Review ended").wait_for()
        wait_until_read(page)
        assert texts_of(page.locator("#breakdown .bars li")) == {"Review begun": "41", "Review ended": "17"}
        page.locator("#breakdown").get_by_label("Group by").select_option("time")
        page.locator("#sessions-by svg").wait_for()
        assert page.url.endswith("&group=time")


def texts_of(bars: Locator) -> dict[str, str]:
    """The numbers of bars by their labels."""
    return {each.locator(".label").inner_text(): each.locator(".number").inner_text() for each in bars.all()}


IDLE = 4  # the user whose seat lies idle


def test_seats_lead_to_the_time_to_first_use(handler: GraphqlHandler, database_url: str, open_page: OpenPage) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for user in range(1, 5):
            for event, hours in ((1001, 50), (6, 50 - user * 10))[: 1 if user == IDLE else 2]:
                moment = NOW - timedelta(hours=hours)
                connection.execute(
                    "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
                    " VALUES (%s, %s, %s, %s, '27/28/', %s)",
                    [derived_id(moment, "seat", user), moment, event, user, Json({"product": "duo"})],
                )
    with open_page("/dashboard", token=token_for()) as page:
        wait_until_read(page)
        drawn = {
            each.get_attribute("data-metric"): each.locator(".value").inner_text()
            for each in page.locator("#first-use .figure").all()
        }
        assert drawn == {"usersCount": "3", "medianSeconds": "20 h", "p90Seconds": "1 d 4 h"}
        assert page.locator("#seats svg").count() == 1
        assert page.locator("#adoption .number").first.inner_text() == "3 · 75%"
        assert page.locator("#idle-seats .value").inner_text() == "1"
        assert page.locator("#idle-seats td").all_inner_texts()[:2] == ["4", "4"]
        page.locator("#adoption").get_by_role("link", name="Chat").click()
        page.locator("#idle-seats td").first.wait_for()
        assert page.locator("#idle-seats td").all_inner_texts()[:2] == ["4", "4"]


def test_a_printed_page_has_its_pictures_and_no_controls(reviews: None, open_page: OpenPage) -> None:
    with open_page("/dashboard?feature=reviews", 1280, token=token_for()) as page:
        wait_until_read(page)
        page.emulate_media(media="print")
        take_picture(page, "print-1280")
        assert page.locator("#course svg").is_visible()
        assert not page.get_by_role("button").filter(visible=True).count()
        assert not page.get_by_role("combobox").filter(visible=True).count()
