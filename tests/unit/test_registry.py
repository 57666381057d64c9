import textwrap
from pathlib import Path
from typing import Any

import pytest

from functions.graphql.schema import executable_schema
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.metric import Metric
from functions.shared.catalog.name_rules import EVENT_FIELDS, FEATURE_METRICS_FIELDS, METRICS_FIELDS, TYPES
from functions.shared.catalog.registry import load
from tests.support.definitions import load_from, write_package

# (what is wrong, two definition files, what the message says; both files must be named where both are at fault)
CONFLICTS = [
    ("name", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").events(x=2)', "event 'x'"),
    ("id", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").deprecated_events(y=1)', "event id 1"),
    ("feature", 'Feature("a", owner="o")', 'Feature("a", owner="o", field="b")', "feature 'a'"),
    ("field", 'Feature("a", owner="o", field="f")', 'Feature("b", owner="o", field="f")', "GraphQL field 'f'"),
    ("metric", 'Feature("a_b", owner="o")', 'Feature("aB", owner="o", field="c")', "metric 'aB'"),
    ("enum value", 'Feature("a", owner="o").events(x=1)', 'Feature("b", owner="o").events(X=2)', "enum value 'X'"),
    ("feature's enum value", 'Feature("a_b", owner="o")', 'Feature("A_B", owner="o", field="c")', "feature 'A_B'"),
    (
        "resolver and field",
        'Feature("a", owner="o").resolver("bEvents", returns="Int")(len)',
        'Feature("b", owner="o")',
        "GraphQL field 'bEvents'",
    ),
    (
        "resolvers",
        'Feature("a", owner="o").resolver("x", returns="Int")(len)',
        'Feature("b", owner="o").resolver("x", returns="Int")(len)',
        "GraphQL field 'x'",
    ),
    ("metrics type", 'Feature("a_b", owner="o")', 'Feature("aB", owner="o", field="c")', "GraphQL type 'ABMetrics'"),
    (
        "nested type",
        'class JEvent(Payload):\n    id: int\nclass P(Payload):\n    j: JEvent\nFeature("a", owner="o", payload=P)',
        'class PEventJ(Payload): pass\nFeature("b", owner="o", payload=PEventJ)',
        "GraphQL type 'PEventJEvent'",
    ),
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

TWO_CLASSES_OF_ONE_NAME = """
class Job(Payload):
    id: int
class P(Payload):
    class Job(Payload):
        size: int
    first: Job
    second: "Job"
Feature("a", owner="o", payload=P)
"""

SESSIONS = """
class P(Payload):
    s: str
    n: float
f = Feature("a", owner="o", payload=P, session_key="s")
f.events(x=1, z=2)
"""

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
    ('Feature("_", owner="o")', "'' is not a name"),
    ('Feature("a", owner="o").events(_1=1)', "'_1' is not a name"),
    (
        'f = Feature("a", owner="o")\n@f.resolver("b", returns="Int")\nasync def b(usage): return 1',
        "resolver 'b' is async",
    ),
    ('Feature("a", owner="o", field="a-b")', "'a-b' is not a name"),
    ('Feature("a", owner="o", field="all")', "GraphQL field 'all' is reserved"),
    (
        'class AiUsage(Payload): pass\nFeature("a", owner="o", payload=AiUsage)',
        "GraphQL type 'AiUsageEvent' is reserved",
    ),
    ('Feature("users_count", owner="o")', "metric 'usersCount' is reserved"),
    (
        'Feature("a", owner="o")\nFeature("a_total", owner="o").metric("eventCount")',
        "order of users 'A_TOTAL_EVENT_COUNT' is defined more than once",
    ),
    ('Feature("a", owner="o").events(total=1)', "'totalEventCount' is reserved"),
    ('Feature("a", owner="o").events(a_b=1, aB=2)', "'aBEventCount' is defined more than once"),
    ('f = Feature("a", owner="o"); f.events(x=1); f.transformation("y")(dict)', "the unknown event 'y'"),
    ('class P(Payload):\n    id: int\nFeature("a", owner="o", payload=P)', "payload key 'id' is reserved"),
    ('class P(Payload):\n    user_id: int\nFeature("a", owner="o", payload=P)', "payload key 'user_id' is reserved"),
    (
        'class P(Payload):\n    projectId: int\nFeature("a", owner="o", payload=P)',
        "payload key 'projectId' is reserved",
    ),
    ('class P(Payload):\n    a_b: int\n    aB: int\nFeature("a", owner="o", payload=P)', "are both 'aB' in camelCase"),
    ('class P(Payload):\n    key: dict\nFeature("a", owner="o", payload=P)', "is not a type for a payload key"),
    ('class P(Payload):\n    key: int | str\nFeature("a", owner="o", payload=P)', "is not a type for a payload key"),
    ('class P(Payload):\n    next: "P | None"\nFeature("a", owner="o", payload=P)', "P contains itself"),
    (
        'class J(Payload):\n    all: "list[P]"\nclass P(Payload):\n    job: J\nFeature("a", owner="o", payload=P)',
        "P contains itself",
    ),
    ('class P(Payload):\n    key: "Q"\nFeature("a", owner="o", payload=P)', "name 'Q' is not defined"),
    ('class J(Payload): pass\nclass P(Payload):\n    job: J\nFeature("a", owner="o", payload=P)', "declares no key"),
    (TWO_CLASSES_OF_ONE_NAME, "GraphQL type 'PEventJob' is defined more than once"),
    (
        'class Edge(Payload):\n    id: int\nclass P(Payload):\n    a: Edge\nFeature("a", owner="o", payload=P)',
        "GraphQL type 'PEventEdge' is defined more than once",
    ),
    ('Feature("ai_user", owner="o")', "GraphQL type 'AiUserMetrics' is reserved"),
    ('Feature("a", owner="o", session_key="s").events(x=1)', "session_key 's' is a payload key that the payload class"),
    (f"{SESSIONS}f.sessions(ends=['y'])", "sessions name the unknown event 'y'"),
    (f"{SESSIONS}f.sessions(begins=['x'], ends=['x'])", "'x' as an event that begins a session and as one that ends"),
    (f"{SESSIONS}f.sessions(ends=['x'], completes=['z'])", "sessions name 'z' in completes, but not in ends"),
    (f"{SESSIONS}f.sessions(ends='x')", "sessions: ends must be a list of names"),
    (f"{SESSIONS}f.sessions()\nf.sessions()", "sessions are declared twice"),
    (f"{SESSIONS}f.sessions(key='n')", "sessions have the keys 's' and 'n'; give them one"),
    (SESSIONS.replace('session_key="s"', 'session_key="n"'), "session_key 'n' is float, but needs to be str or int"),
    ('Feature("a", owner="o").sessions()', "sessions need a key"),
    ('Feature("a", owner="o").seats(assigned="x", removed=["y"], product="p")', "must be lists of at least one name"),
    (f"{SESSIONS}f.seats(assigned=['x'], removed=['x'], product='s')", "seats name 'x' as an event that assigns and"),
    (f"{SESSIONS}f.seats(assigned=['x'], removed=['z'], product='n')", "'n' is no payload key of type str"),
    (f"{SESSIONS}f.seats(assigned=['x'], removed=['y'], product='s')", "seats name the unknown event 'y'"),
    ('Feature("a", owner="o", former_names=["a-b"])', "'a-b' is not a name"),
    ('Feature("a", owner="o", former_names=["a"])', "feature 'a' is defined more than once"),
    ('Feature("a", owner="o", former_names=["b"])\nFeature("b", owner="o")', "feature 'b' is defined more than once"),
    ('Feature("a", owner="o", field_aliases=["all"])', "GraphQL field 'all' is reserved"),
    ('Feature("a", owner="o", metrics_aliases=["b-c"])', "'b-c' is not a name"),
    ('Feature("a", owner="o", metrics_aliases=["user"])', "metric 'user' is reserved"),
    ('Feature("a", owner="o", metrics_aliases=["b"])\nFeature("b", owner="o")', "metric 'b' is defined more than once"),
    ('reserve_ids(5, reason="why")\nFeature("a", owner="o").events(x=5)', "one.py: event id 5 is reserved in"),
    ('reserve_ids(5, reason="why")\nFeature("a", owner="o").deprecated_events(x=5)', "one.py: why"),
    ('users_count("a-b")', "metric 'a-b' is not a name"),
    ('users_count("usersCount")', "metric 'usersCount' is reserved"),
    ('users_count("a")\nFeature("a", owner="o")', "metric 'a' is defined more than once"),
    ('users_count("a", features=["b"])', "'a' names the unknown feature 'b'"),
    ("class P(Payload:", "SyntaxError"),
    ("import nonsense", "ModuleNotFoundError"),
    ("1 / 0", "ZeroDivisionError"),
    ("import sys\nsys.exit()", "one.py ends the program instead of defining events"),
    ("import sys\nsys.exit(0)", "one.py ends the program instead of defining events"),
    ('raise SystemExit("bye")', "one.py ends the program instead of defining events"),
    ('Feature("a", owner="o")', "the feature a has no events"),
    ('f = Feature("a", owner="o"); f.events(); f.deprecated_events()', "the feature a has no events"),
]

# A feature whose payload has something of everything.
BUILDS = """
from datetime import datetime
class Job(Payload):
    size: int
    seconds: float
class Build(Payload):
    job: Job
    jobs: list[Job]
    tags: list[str]
    name: str
    done: bool
    at: datetime
feature = Feature("builds", owner="o", payload=Build)
feature.events(build_done=1)
"""

ONE_KIND = "takes only one of sum, avg, min, max, quantile, distinct and ratio"

# (a metric or resolver of it, what the message says)
MISTAKES_WITH_BUILDS = [
    ('metric("a-b")', "'a-b' is not a name"),
    ('metric("")', "'' is not a name"),
    ('metric("Total")', "'Total' is not a name that GraphQL allows, beginning in lower case"),
    ('metric("x"); feature.metric("x")', "metric 'x' is declared twice"),
    ('metric("totalEventCount")', "'totalEventCount' is reserved"),
    ('metric("contributorsCount")', "'contributorsCount' is reserved"),
    ('metric("buildDoneEventCount")', "'buildDoneEventCount' is defined more than once"),
    ('metric("x", sum="job.size", distinct="name")', ONE_KIND),
    ('metric("x", distinct="name", ratio=("a", "b"))', ONE_KIND),
    ('metric("x", avg="job.size", quantile=0.5, of="job.size")', ONE_KIND),
    ('metric("x", quantile=0.5)', 'quantile and of belong together, like quantile=0.95, of="duration_ms"'),
    ('metric("x", of="job.size")', "quantile and of belong together"),
    ('metric("x", quantile=95, of="job.size")', "quantile must be a number from 0 to 1, not 95"),
    ('metric("x", quantile="0.5", of="job.size")', "quantile must be a number from 0 to 1, not '0.5'"),
    ('metric("x", quantile=0.5, of="name")', "needs a key of type int or float, but 'name' is str"),
    ('metric("x", min="at")', "needs a key of type int or float, but 'at' is datetime"),
    ('metric("x", max="other")', "names the payload key 'other'"),
    ('metric("x", events="build_done")', "events must be a list of at least one name"),
    ('metric("x", events=[])', "events must be a list of at least one name"),
    ('metric("x", events=["other"])', "names the unknown event 'other'"),
    ('metric("x", sum="other")', "names the payload key 'other'"),
    ('metric("x", sum="job.other")', "names the payload key 'job.other'"),
    ('metric("x", sum="name.size")', "names the payload key 'name.size'"),
    ('metric("x", sum="jobs.size")', "names the payload key 'jobs.size'"),
    ('metric("x", sum="jobs[0].size")', "names the payload key 'jobs[0].size'"),
    ('metric("x", distinct="")', "names the payload key ''"),
    ('metric("x", sum="name")', "needs a key of type int or float, but 'name' is str"),
    ('metric("x", sum="done")', "needs a key of type int or float, but 'done' is bool"),
    ('metric("x", distinct="job")', "but 'job' is object"),
    ('metric("x", distinct="tags")', "but 'tags' is list of str"),
    ('metric("x", sum="size", unit="milliseconds of time")', "a unit is a short word like ms or EUR, not 'milli"),
    ('metric("x", sum="size", unit=" ms")', "a unit is a short word like ms or EUR, not ' ms'"),
    ('metric("x", distinct="name", unit="ms")', "lists values, which takes no unit"),
    ('metric("x", ratio="ab")', "ratio must name two metrics"),
    ('metric("x", ratio=("a", "b", "c"))', "ratio must name two metrics"),
    ('metric("x", ratio=("a", "a"), events=["build_done"])', "is a ratio: set events on its two metrics instead"),
    ('metric("a"); feature.metric("x", ratio=("a", "b"))', "is a ratio of 'b', which is neither a count nor a sum"),
    (
        'metric("a", distinct="name"); feature.metric("b"); feature.metric("x", ratio=("a", "b"))',
        "is a ratio of 'a', which is neither a count nor a sum",
    ),
    ('metrics_argument("not", key="name")', "metrics argument 'not' is not a name"),
    ('metrics_argument("a-b", key="name")', "metrics argument 'a-b' is not a name"),
    ('metrics_argument("a_b", key="name")', "metrics argument 'a_b' is not a name"),
    ('metrics_argument("a", key="name"); feature.metrics_argument("a", key="name")', "'a' is declared twice"),
    ('metrics_argument("a", key="other")', "needs a key of type str or int or float or bool, which 'other' is not"),
    ('metrics_argument("a", key="tags")', "needs a key of type str or int or float or bool, which 'tags' is not"),
    ('metrics_beside(x="other")', "the metric 'x' beside the feature names the unknown metric 'other'"),
    ('metrics_beside(user="totalEventCount")', "metric 'user' is reserved"),
    ('metrics_beside(builds="totalEventCount")', "metric 'builds' is defined more than once"),
    ('metrics_beside(x="totalEventCount"); feature.metrics_beside(x="totalEventCount")', "is declared twice"),
    ('session_metrics("a", by="job")', "be grouped by a key of type str, which 'job' is not"),
    ('session_metrics("a", by="name")', "session metrics need the feature to have a session_key"),
    ('session_metrics("A", by="name")', "session metrics 'A' is not a name"),
    ('session_metrics("contributorsCount", by="name")', "'contributorsCount' is reserved"),
    ('assigned_users("a")', "assigned users 'a' need seats, declared before"),
    ('assigned_users("A")', "assigned users 'A' is not a name"),
    ('resolver("X", returns="Int")(len)', "resolver 'X' is not a name"),
    ('resolver("all", returns="Int")(len)', "GraphQL field 'all' is reserved"),
    ('resolver("buildsEvents", returns="Int")(len)', "GraphQL field 'buildsEvents' is defined more than once"),
    ('resolver("x", returns="Int")(len); feature.resolver("x", returns="Int")', "resolver 'x' is defined twice"),
    ('resolver("x", returns="Namespace")(len)', "returns 'Namespace': use String, "),
    ('resolver("x", returns="[Int")(len)', "returns '[Int'"),
    ('resolver("x", returns="Int!!")(len)', "returns 'Int!!'"),
]


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


@pytest.mark.parametrize(("text", "said"), MISTAKES_WITH_BUILDS)
def test_a_metric_or_resolver_that_can_not_be_used_is_refused_with_its_file(text: str, said: str, folder: Path) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_from(folder, one=f"{BUILDS}feature.{text}")
    (line,) = [line for line in str(refused.value).splitlines() if said in line]
    assert "one.py" in line


def test_a_feature_declares_metrics_in_any_order(folder: Path) -> None:
    text = """
    feature = Feature("a", owner="o", payload=P)
    feature.metric("rate", ratio=["finished", "seconds"])
    feature.metric("finished", events=["done", "failed", "done"], description="How many ended.")
    feature.metric("seconds", sum="job.seconds")
    feature.metric("days", distinct="at", events=("old",))
    feature.events(done=1, failed=2)
    feature.deprecated_events(old=3)
    """
    head = "from datetime import datetime\nclass Job(Payload):\n    seconds: float\nclass P(Payload):\n"
    head += "    job: Job | None = None\n    at: datetime | None = None\n"
    feature = load_from(folder, one=head + textwrap.dedent(text)).features["a"]
    assert feature.metrics == {
        "rate": Metric("rate", "ratio", of=("finished", "seconds")),
        "finished": Metric("finished", "count", ("done", "failed"), description="How many ended."),
        "seconds": Metric("seconds", "sum", path="job.seconds"),
        "days": Metric("days", "distinct", ("old",), "at"),
    }
    assert [feature.ids_of(metric.events) for metric in feature.metrics.values()] == [
        (1, 2, 3),
        (1, 2),
        (1, 2, 3),
        (3,),
    ]


def test_a_feature_adds_fields_of_its_own(folder: Path) -> None:
    text = """
    feature = Feature("a", owner="o")
    feature.events(x=1)
    @feature.resolver("usersOfA", returns="[[Int!]!]")
    def users(usage):
        \"""How many they are.\"""
        return [[usage.users()]]
    """
    (resolver,) = load_from(folder, one=text.replace("\n    ", "\n")).features["a"].resolvers.values()
    assert (resolver.name, resolver.returns, resolver.description) == ("usersOfA", "[[Int!]!]", "How many they are.")


def test_the_events_that_a_feature_is_asked_for_must_be_its_own() -> None:
    with pytest.raises(ValueError, match="the feature chat has no event 'troubleshoot_job'"):
        load().features["chat"].ids_of(["troubleshoot_job"])


def test_every_type_of_the_schema_is_reserved_or_made_from_a_definition() -> None:
    registry = load()
    schema = executable_schema(registry)
    made = {name for feature in registry.features.values() for name in feature.type_names()}
    assert {name for name in schema.type_map if not name.startswith("__")} <= TYPES | made


def test_the_names_that_the_schema_keeps_are_those_that_it_has() -> None:
    registry = load()
    types: Any = executable_schema(registry).type_map
    features = registry.features.values()
    declared = {name for feature in features for name in (*feature.metrics_fields, *feature.metrics_beside_feature)}
    declared |= {count.name for count in registry.users_counts}
    declared |= {name for feature in features for name in feature.assigned_users_fields}
    assert types["AiUsageEvent"].fields.keys() == EVENT_FIELDS
    assert (types["AiMetrics"].fields.keys() | types["AiUserMetrics"].fields.keys()) - declared == METRICS_FIELDS
    assert types["ChatMetrics"].fields.keys() - {"requestDuoChatResponseEventCount"} == FEATURE_METRICS_FIELDS


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
        two="from functions.shared.catalog.registry import load",
        three='Feature("c", owner="o").deprecated_events(z=3)',
    )
    assert list(registry.features) == ["a", "b", "c"]
    assert {event.name: (event.id, event.deprecated) for event in registry.events.values()} == {
        "x": (1, False),
        "y": (2, False),
        "z": (3, True),
    }


@pytest.mark.parametrize("files", [["teams/chat.py"], ["teams/__init__.py"], ["a/b/__init__.py", "a/b/c.py"]], ids=str)
def test_a_module_in_a_subfolder_is_refused_with_its_file(files: list[str], folder: Path) -> None:
    package = write_package(folder, one='from definitions import Feature\nFeature("a", owner="o").events(x=1)')
    for file in files:
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).touch()
    with pytest.raises(DefinitionError) as refused:
        load(package.name)
    for line, file in zip(str(refused.value).splitlines(), files, strict=True):
        assert f"{package.name}/{file} lies in a subfolder" in line


def test_a_feature_that_would_not_be_found_is_refused_with_its_file(folder: Path) -> None:
    package = write_package(folder, one='from definitions import Feature\nFeature("a", owner="o").events(x=1)')
    (package / "__init__.py").write_text('from definitions import Feature\nFeature("b", owner="o").events(y=2)')
    (package / "chat.v2.py").touch()
    with pytest.raises(DefinitionError) as refused:
        load(package.name)
    first, second = str(refused.value).splitlines()
    assert "__init__.py: the feature b is not found here" in first
    assert f"{package.name}/chat.v2.py is not found as a definition" in second


def test_a_subfolder_without_modules_and_what_python_compiled_are_no_problem(folder: Path) -> None:
    package = write_package(folder, one='from definitions import Feature\nFeature("a", owner="o").events(x=1)')
    for file in ("notes/readme.md", "__pycache__/gone.cpython-313.pyc", ".hidden/old.py"):
        (package / file).parent.mkdir(exist_ok=True)
        (package / file).touch()
    assert list(load(package.name).features) == ["a"]


def test_a_feature_says_what_it_is(folder: Path) -> None:
    registry = load_from(
        folder, one='class Answer(Payload): pass\nFeature("search_box", owner="o", payload=Answer).events(x=1)'
    )
    feature = registry.features["search_box"]
    assert (feature.field, feature.type_name, feature.description) == (
        "searchBoxEvents",
        "AnswerEvent",
        "A team's events.",
    )
    assert (feature.metrics_field, feature.metrics_type_name, feature.enum_value) == (
        "searchBox",
        "SearchBoxMetrics",
        "SEARCH_BOX",
    )
    assert feature.file.endswith("one.py")


def test_the_shipped_metrics_are_those_that_gitlab_has() -> None:
    features = load().features
    assert {name: list(feature.metrics) for name, feature in features.items() if feature.metrics} == {
        "agent_platform": [
            f"{step}SessionEventCount" for step in ("created", "started", "finished", "dropped", "stopped", "resumed")
        ],
        "code_suggestions": [
            "shownCount",
            "acceptedCount",
            "shownLinesOfCode",
            "acceptedLinesOfCode",
            "acceptanceRate",
            "languages",
            "ideNames",
        ],
    }


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
        1001: "seat_assigned",
        1002: "seat_removed",
        23: "start_mcp_tool_call",
        24: "finish_mcp_tool_call",
        25: "fix_pipeline_suggestion_posted",
        26: "fix_pipeline_suggestion_applied",
        27: "duo_workflow_workload_completed",
        28: "view_duo_agentic_subscription_expired_empty_state",
        29: "click_duo_agentic_subscription_expired_upgrade",
        30: "click_duo_agentic_subscription_expired_learn_more",
        31: "restore_ai_catalog_item",
        32: "publish_duo_code_review_comments",
        33: "summarize_new_merge_request",
        34: "request_duo_vulnerability_resolution",
        35: "explain_vulnerability",
        36: "summarize_review",
        37: "generate_merge_commit_message",
        38: "ai_duo_messaging_feedback_submitted",
        46: "resolve_feature_discovery_search",
    }
    assert {event.id for event in registry.events.values() if event.deprecated} == {1, 5}
    assert registry.by_id.keys() - registry.use_ids == {1001, 1002}
    assert {name: feature.field for name, feature in registry.features.items()} == {
        "agent_platform": "agentPlatformEvents",
        "ai_catalog": "aiCatalogEvents",
        "chat": "chatEvents",
        "code_review": "codeReviewEvents",
        "code_suggestions": "codeSuggestionEvents",
        "seats": "seatEvents",
        "duo_messaging": "duoMessagingEvents",
        "duo_workflow": "duoWorkflowEvents",
        "explain_vulnerability": "explainVulnerabilityEvents",
        "feature_discovery": "featureDiscoveryEvents",
        "fix_pipeline": "fixPipelineEvents",
        "generate_merge_commit_message": "generateMergeCommitMessageEvents",
        "mcp": "mcpEvents",
        "request_duo_vulnerability_resolution": "requestDuoVulnerabilityResolutionEvents",
        "summarize_new_merge_request": "summarizeNewMergeRequestEvents",
        "summarize_review": "summarizeReviewEvents",
        "troubleshoot_job": "troubleshootJobEvents",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('Feature("usage_events_canary", owner="o").events(x=1)', "feature 'usage_events_canary' is reserved"),
        ('Feature("a", owner="o").events(usage_events_canary=1)', "event 'usage_events_canary' is reserved"),
        ('Feature("a", owner="o").deprecated_events(usage_events_canary=1)', "event 'usage_events_canary' is reserved"),
        ('Feature("a", owner="o").events(x=0)', "id 0 of x is outside 1..32767"),
    ],
)
def test_no_definition_has_what_the_canary_has(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        load_from(folder, one=text)
