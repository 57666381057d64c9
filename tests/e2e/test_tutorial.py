"""The tutorial and the README, followed on the deployed stack as their readers follow them."""

import json
import subprocess

from tests import documentation
from tests.documentation import DOCS, README, TUTORIAL, masked
from tests.e2e.conftest import Stack
from tests.e2e.following import checkout_of, follow, printed, run
from tests.e2e.use import eventually, graphql


def test_the_tutorial_leads_from_an_event_to_a_chart(stack: Stack) -> None:
    follow(stack, "4. Send the event")
    follow(stack, "5. Read the event")
    follow(stack, "6. Send a week of events", program="week.py")
    follow(stack, "7. Draw a chart", program="chart.py")
    (status, _) = documentation.commands(documentation.section(TUTORIAL, "8. Look into the stores"))
    assert "ai_usage_events_" in run(stack, status)


def test_the_query_of_the_readme_is_answered_as_it_says(stack: Stack) -> None:
    follow(stack, "4. Send the event")
    (query,) = documentation.blocks(README.read_text(), "graphql")
    (answer,) = documentation.blocks(README.read_text(), "json")
    wanted = json.loads(answer)
    eventually(lambda: graphql(stack, query)["aiInstanceUsageData"], wanted["aiInstanceUsageData"])
    counted = graphql(stack, query)["aiInstanceMetrics"]["issueSummaries"]
    assert counted.keys() == wanted["aiInstanceMetrics"]["issueSummaries"].keys()


def test_the_requests_of_the_how_to_guides_are_answered_as_they_say(stack: Stack) -> None:
    for page in ("howto/send.md", "howto/query.md"):
        for command in documentation.commands((DOCS / page).read_text()):
            if command.text.startswith("curl"):
                answer = printed(stack, command)
                assert answer == masked(command.output).strip() or answer.startswith('{"data":{')


def test_the_example_for_the_queue_puts_an_event_on_it(stack: Stack) -> None:
    (example, _) = documentation.blocks((DOCS / "howto/send.md").read_text(), "python")
    count = "{ aiInstanceUsageData { all(events: [REQUEST_DUO_CHAT_RESPONSE], userIds: [1]) { count } } }"
    before = graphql(stack, count)["aiInstanceUsageData"]["all"]["count"]
    done = subprocess.run([".venv/bin/python", "-c", example], cwd=checkout_of(stack), capture_output=True, text=True)
    assert done.stderr == ""
    eventually(lambda: graphql(stack, count)["aiInstanceUsageData"]["all"]["count"], before + 1)
