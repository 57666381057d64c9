"""GraphQL queries for either store, with the expected answers."""

from datetime import UTC, datetime, timedelta

from functions.shared.timestamp import format_timestamp, parse_timestamp
from tests.e2e.conftest import Stack
from tests.e2e.use import graphql, post

# As GitLab's documentation has them.
CODE_SUGGESTIONS = """
    query {
        group(fullPath: "gitlab-org") {
            aiUsageData {
                codeSuggestionEvents(startDate: "2026-09-26") {
                    nodes { event timestamp language suggestionSize user { username } }
                }
            }
        }
    }
"""
USER_METRICS = """
    query {
        group(fullPath:"gitlab-org") {
            aiUserMetrics { nodes { codeSuggestionsAcceptedCount duoChatInteractionsCount user { username } } }
        }
    }
"""

SEARCH = """
    query ($user: ID!) {
        aiInstanceUsageData {
            searchEvents(userIds: [$user], payload: [{path: "source.kind", exists: true}]) {
                nodes { event results found source { kind projectId } payload(paths: ["source.project_id"]) }
            }
            all(userIds: [$user], events: [SEARCH_ANSWERED], features: [SEARCH]) {
                count
                nodes { __typename ... on SearchAnswerEvent { results } }
            }
            searchResultsPerUser(userIds: [$user])
        }
        aiInstanceMetrics(userIds: [$user]) {
            search { totalEventCount contributorsCount searchAnsweredEventCount resultsCount sourceKinds }
        }
        aiInstanceUserMetrics(userIds: [$user], sort: SEARCH_RESULTS_COUNT_DESC) { nodes { search { resultsCount } } }
        aiInstanceUsage(userIds: [$user], features: [SEARCH], payloadGroupBy: ["source.kind"]) { payload totalCount }
        eventDefinitions { name feature payload { name type description } }
    }
"""
SEARCH_DEFINITION = {
    "name": "search_answered",
    "feature": "search",
    "payload": [
        {"name": "results", "type": "int", "description": ""},
        {"name": "found", "type": "bool", "description": ""},
        {"name": "source", "type": "object", "description": "of the first result"},
        {"name": "source.kind", "type": "str", "description": "like `issue` or `wiki`"},
        {"name": "source.project_id", "type": "int", "description": ""},
    ],
}


SEARCH_ANSWER = {
    "aiInstanceUsageData": {
        "searchEvents": {
            "nodes": [
                {
                    "event": "SEARCH_ANSWERED",
                    "results": 3,
                    "found": True,
                    "source": {"kind": "wiki", "projectId": 4},
                    "payload": {"source": {"project_id": 4}},
                }
            ]
        },
        "all": {
            "count": 2,
            "nodes": [{"__typename": "SearchAnswerEvent", "results": results} for results in (3, 0)],
        },
        "searchResultsPerUser": 3,
    },
    "aiInstanceMetrics": {
        "search": {
            "totalEventCount": 2,
            "contributorsCount": 1,
            "searchAnsweredEventCount": 2,
            "resultsCount": 3,
            "sourceKinds": ["wiki"],
        }
    },
    "aiInstanceUserMetrics": {"nodes": [{"search": {"resultsCount": 3}}]},
    "aiInstanceUsage": [{"payload": {"source.kind": kind}, "totalCount": 1} for kind in (None, "wiki")],
}


def send_what_is_asked_for(stack: Stack, user_id: int) -> None:
    """Sends events of the user, whose username is the id, for the other functions of this module."""
    common = {
        "user": {"id": user_id, "username": f"user-{user_id}"},
        "namespace": {"path": "27/", "full_path": "gitlab-org"},
    }
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    suggestion = {"language": "ruby", "suggestion_size": 3}
    events = [
        common | suggestion | {"event": "code_suggestion_shown_in_ide"},
        common | suggestion | {"event": "code_suggestion_accepted_in_ide"},
        common | suggestion | {"event": "code_suggestion_accepted_in_ide"},
        common | {"event": "request_duo_chat_response"},
        common | {"event": "search_answered", "results": "3", "source": {"kind": "wiki", "project_id": 4}},
        common | {"event": "search_answered", "results": 0, "timestamp": format_timestamp(an_hour_ago)},
    ]
    answer = post(stack, events)
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(events))


def assert_gitlabs_queries_are_answered(stack: Stack, user_id: int) -> None:
    """Checks that the queries of GitLab's documentation answer with the user's events."""
    user = {"username": f"user-{user_id}"}
    for query in (CODE_SUGGESTIONS, CODE_SUGGESTIONS.replace('(startDate: "2026-09-26")', "")):
        nodes = graphql(stack, query)["group"]["aiUsageData"]["codeSuggestionEvents"]["nodes"]
        suggestions = [node for node in nodes if node["user"] == user]
        assert sorted(node["event"] for node in suggestions) == [
            "CODE_SUGGESTION_ACCEPTED_IN_IDE",
            "CODE_SUGGESTION_ACCEPTED_IN_IDE",
            "CODE_SUGGESTION_SHOWN_IN_IDE",
        ]
        assert {(node["language"], node["suggestionSize"]) for node in suggestions} == {("ruby", 3)}
        assert all(parse_timestamp(node["timestamp"]) for node in suggestions)
    metrics = graphql(stack, USER_METRICS)["group"]["aiUserMetrics"]["nodes"]
    assert {"codeSuggestionsAcceptedCount": 2, "duoChatInteractionsCount": 1, "user": user} in metrics


def assert_the_new_definition_is_answered(stack: Stack, user_id: int) -> None:
    """Checks every GraphQL field of the documented definition `search` against the user's events."""
    answer = graphql(stack, SEARCH, user=str(user_id))
    assert SEARCH_DEFINITION in answer.pop("eventDefinitions")
    assert answer == SEARCH_ANSWER
