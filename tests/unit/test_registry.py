import textwrap
from itertools import count
from pathlib import Path

import pytest

from functions.shared.feature import DefinitionError
from functions.shared.registry import Registry, load

packages = count()

# (what is wrong, two definition files, what the message says; both files must be named where both are at fault)
CONFLICTS = [
    ("name", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").events(x=2)', "event 'x'"),
    ("id", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").deprecated_events(y=1)', "event id 1"),
    ("feature", 'Feature("a", owner="o")', 'Feature("a", owner="o", field="b")', "feature 'a'"),
    ("field", 'Feature("a", owner="o", field="f")', 'Feature("b", owner="o", field="f")', "GraphQL field 'f'"),
    ("metric", 'Feature("a_b", owner="o")', 'Feature("aB", owner="o", field="c")', "metric 'aB'"),
    ("enum value", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").events(X=2)', "enum value 'X'"),
    (
        "type",
        'class P(Payload): pass\nFeature("a", owner="o", payload=P)',
        'Feature("p", owner="o", field="b")',
        "GraphQL type 'PEvent'",
    ),
    (
        "payload type",
        'class P(Payload):\n    key: int\nFeature("a", owner="o", payload=P)',
        'class Q(Payload):\n    key: str | None = None\nFeature("b", owner="o", payload=Q)',
        "payload key 'key' is int in",
    ),
    (
        "nested payload type",
        'class J(Payload):\n    id: int\nclass P(Payload):\n    job: J\nFeature("a", owner="o", payload=P)',
        'class J(Payload):\n    id: str\nclass Q(Payload):\n    job: J\nFeature("b", owner="o", payload=Q)',
        "payload key 'job.id' is int in",
    ),
    (
        "list",
        'class P(Payload):\n    key: list[int]\nFeature("a", owner="o", payload=P)',
        'class Q(Payload):\n    key: list[str]\nFeature("b", owner="o", payload=Q)',
        "payload key 'key' is list of int in",
    ),
    (
        "object and value",
        'class J(Payload):\n    id: int\nclass P(Payload):\n    key: J\nFeature("a", owner="o", payload=P)',
        'class Q(Payload):\n    key: str\nFeature("b", owner="o", payload=Q)',
        "payload key 'key' is object in",
    ),
]

# (one definition file, what the message says)
MISTAKES = [
    ('Feature("a", owner="o").events(x=0)', "outside 1..32767"),
    ('Feature("a", owner="o").events(x=32768)', "outside 1..32767"),
    ('Feature("a", owner="o").events(x=True)', "outside 1..32767"),
    ('Feature("a", owner="o").events(x="1")', "outside 1..32767"),
    ('Feature("a", owner="o").events(x=1, y=1)', "event id 1 is defined more than once"),
    ('f = Feature("a", owner="o"); f.events(x=1); f.events(x=2)', "event x is defined twice"),
    ('f = Feature("a", owner="o"); f.events(x=1); f.deprecated_events(x=2)', "event x is defined twice"),
    ('Feature("a", owner="o").events(**{"x-y": 1})', "'x-y' is not a name"),
    ('Feature("a", owner="o").events(__x=1)', "'__x' is not a name"),
    ('Feature("1a", owner="o")', "'1a' is not a name"),
    ('Feature("a", owner="o", field="a-b")', "'a-b' is not a name"),
    ('Feature("a", owner="o", field="all")', "GraphQL field 'all' is reserved"),
    (
        'class AiUsage(Payload): pass\nFeature("a", owner="o", payload=AiUsage)',
        "GraphQL type 'AiUsageEvent' is reserved",
    ),
    ('Feature("users_count", owner="o")', "metric 'usersCount' is reserved"),
    ('Feature("a", owner="o").events(total=1)', "'totalEventCount' is reserved"),
    ('Feature("a", owner="o").events(a_b=1, aB=2)', "'aBEventCount' is defined more than once"),
    ('f = Feature("a", owner="o"); f.events(x=1); f.transformation("y")(dict)', "the unknown event 'y'"),
    ('class P(Payload):\n    id: int\nFeature("a", owner="o", payload=P)', "payload key 'id' is reserved"),
    ('class P(Payload):\n    user_id: int\nFeature("a", owner="o", payload=P)', "payload key 'user_id' is reserved"),
    ('class P(Payload):\n    a_b: int\n    aB: int\nFeature("a", owner="o", payload=P)', "are both 'aB' in camelCase"),
    ('class P(Payload):\n    key: dict\nFeature("a", owner="o", payload=P)', "is no type for a payload key"),
    ('class P(Payload):\n    key: int | str\nFeature("a", owner="o", payload=P)', "is no type for a payload key"),
    ("class P(Payload:", "SyntaxError"),
    ("import nonsense", "ModuleNotFoundError"),
    ("1 / 0", "ZeroDivisionError"),
]


def load_from(folder: Path, **modules: str) -> Registry:
    package = folder / f"defined{next(packages)}"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in modules.items():
        head = '"""A team\'s events."""\nfrom definitions import Feature, Payload\n'
        (package / f"{name}.py").write_text(head + textwrap.dedent(text))
    return load(package.name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second", "said"), [case[1:] for case in CONFLICTS], ids=[case[0] for case in CONFLICTS]
)
def test_two_definitions_that_contradict_each_other_are_refused_with_both_files(
    first: str, second: str, said: str, folder: Path
) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_from(folder, one=first, two=second)
    (line,) = [line for line in str(refused.value).splitlines() if said in line]
    assert "one.py" in line
    assert "two.py" in line


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_definition_that_can_not_be_used_is_refused_with_its_file(text: str, said: str, folder: Path) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_from(folder, one=text)
    (line,) = [line for line in str(refused.value).splitlines() if said in line]
    assert "one.py" in line


def test_every_problem_is_reported_at_once(folder: Path) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_from(
            folder,
            one='Feature("a", owner="o", field="all").events(x=1)',
            two='Feature("b", owner="o").events(x=1)',
        )
    assert len(str(refused.value).splitlines()) == 4  # the field, and the event's name, id and enum value


def test_features_are_found_in_every_module_and_only_once(folder: Path) -> None:
    registry = load_from(
        folder,
        one='f = Feature("a", owner="o"); same = f; f.events(x=1)\nFeature("b", owner="o").events(y=2)',
        two="from functions.shared.registry import load",
        three='Feature("c", owner="o").deprecated_events(z=3)',
    )
    assert list(registry.features) == ["a", "b", "c"]
    assert {event.name: (event.id, event.deprecated) for event in registry.events.values()} == {
        "x": (1, False),
        "y": (2, False),
        "z": (3, True),
    }


def test_a_feature_says_what_it_is(folder: Path) -> None:
    registry = load_from(folder, one='class Answer(Payload): pass\nFeature("search_box", owner="o", payload=Answer)')
    feature = registry.features["search_box"]
    assert (feature.field, feature.type_name, feature.description) == (
        "searchBoxEvents",
        "AnswerEvent",
        "A team's events.",
    )
    assert feature.file.endswith("one.py")


def test_the_shipped_definitions_keep_their_names_and_ids() -> None:
    registry = load()
    assert {event.id: event.name for event in registry.events.values()} == {
        1: "code_suggestions_requested",
        2: "code_suggestion_shown_in_ide",
        3: "code_suggestion_accepted_in_ide",
        4: "code_suggestion_rejected_in_ide",
        5: "code_suggestion_direct_access_token_refresh",
        6: "request_duo_chat_response",
        7: "troubleshoot_job",
        8: "agent_platform_session_created",
        9: "agent_platform_session_started",
        10: "encounter_duo_code_review_error_during_review",
        11: "find_no_issues_duo_code_review_after_review",
        12: "find_nothing_to_review_duo_code_review_on_mr",
        13: "post_comment_duo_code_review_on_diff",
        14: "react_thumbs_up_on_duo_code_review_comment",
        15: "react_thumbs_down_on_duo_code_review_comment",
        16: "request_review_duo_code_review_on_mr_by_author",
        17: "request_review_duo_code_review_on_mr_by_non_author",
        18: "excluded_files_from_duo_code_review",
        19: "agent_platform_session_finished",
        20: "agent_platform_session_dropped",
        21: "agent_platform_session_stopped",
        22: "agent_platform_session_resumed",
    }
    assert {event.id for event in registry.events.values() if event.deprecated} == {1, 5}
    assert {name: feature.field for name, feature in registry.features.items()} == {
        "agentic_chat": "agenticChatEvents",
        "chat": "chatEvents",
        "code_review": "codeReviewEvents",
        "code_suggestions": "codeSuggestionEvents",
        "troubleshoot_job": "troubleshootJobEvents",
    }
