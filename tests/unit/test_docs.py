"""Statements of the README and the documentation, checked against the code."""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from graphql import GraphQLSchema, build_schema, parse, validate

from functions.graphql.schema import schema_text
from functions.shared.catalog import registry
from infra.docs import deployment
from infra.docs.commands import PROGRAM, all_commands
from infra.docs.limits import THRESHOLDS
from infra.docs.pages import BLOCKS, block_names, stale_pages
from infra.stack_file import Stack
from tests.support import checkout, documentation
from tests.support.checkout import ROOT
from tests.support.definitions import load_from, write_package
from tests.support.documentation import DOCS, README, TUTORIAL, search_definition, tutorial_definition

MAX_README_LINES = 130
EVERY_PAGE = [str(page.relative_to(ROOT)) for page in documentation.pages()]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> GraphQLSchema:
    """Returns the schema of the shipped definitions and of the documentation's definitions."""
    folder = tmp_path_factory.mktemp("documented")
    shipped = {file.stem: file.read_text() for file in (ROOT / "definitions").glob("[!_]*.py")}
    package = write_package(folder, **shipped, search=search_definition(), issue_summaries=tutorial_definition())
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(folder)
        return build_schema(schema_text(registry.load(package.name)))


def test_the_generated_parts_are_as_the_code_makes_them() -> None:
    assert [str(page) for page in stale_pages(DOCS)] == [], "make reference writes them anew"


def test_every_generated_part_is_on_one_page() -> None:
    assert sorted(name for page in documentation.pages() for name in block_names(page.read_text())) == sorted(BLOCKS)


def test_every_threshold_of_the_contract_watch_is_in_the_reference() -> None:
    (file,) = {file for _, file, name, _ in THRESHOLDS if name == "MIN_EVENTS"}
    constants = set(re.findall(r"^([A-Z]\w+) = [\d.]+$", (ROOT / file).read_text(), re.MULTILINE))
    assert constants == {name for _, path, name, _ in THRESHOLDS if path == file}


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_link_leads_to_a_file(page: str) -> None:
    folder = (ROOT / page).parent
    assert [link for link in documentation.links(ROOT / page) if not (folder / link.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_a_page_says_nothing_twice(page: str) -> None:
    paragraphs = re.split(r"\n\s*\n", (ROOT / page).read_text())
    counted = Counter(one for one in paragraphs if len(one) > 100 or one.startswith("#"))
    assert [one for one, times in counted.items() if times > 1] == []


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_query_is_valid(page: str, schema: GraphQLSchema) -> None:
    queries = documentation.blocks((ROOT / page).read_text(), "graphql")
    sent = [
        json.loads(body) for body in re.findall(r"""-d '\n(  \{"query".*?)'$""", (ROOT / page).read_text(), re.S | re.M)
    ]
    for query in (*queries, *(body["query"] for body in sent)):
        assert validate(schema, parse(query)) == [], query


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_json_and_python_block_can_be_read(page: str) -> None:
    text = (ROOT / page).read_text()
    for block in documentation.blocks(text, "json"):
        json.loads(block.replace("{…}", "{}"))
    for block in documentation.blocks(text, "python"):
        compile(block, page, "exec")


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_command_of_usage_events_is_there_with_its_options(page: str) -> None:
    known = dict(all_commands())
    for name, words in usage_events_commands((ROOT / page).read_text()):
        assert name in known, name
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, name


def usage_events_commands(text: str) -> list[tuple[str, list[str]]]:
    """Yields the name and the words of each command in console blocks and in inline code."""
    written = [command.text for command in documentation.commands(text)]
    written += re.findall(rf"`({PROGRAM} [^`]+)`", text)
    found = []
    for command in written:
        words = shlex.split(command)
        names = [index for index, word in enumerate(words) if word.endswith(PROGRAM)]
        if names:
            words = words[names[0] + 1 :]
            depth = next((count for count in (1, 2) if " ".join([PROGRAM, *words[:count]]) in dict(all_commands())), 2)
            found.append((" ".join([PROGRAM, *words[:depth]]), words[depth:]))
    return found


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_target_of_make_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.text.split()[1] for command in documentation.commands(text) if command.text.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)`", text))
    assert named <= targets


def test_the_definition_of_the_readme_is_that_of_the_tutorial() -> None:
    (definition,) = documentation.blocks(README.read_text(), "python")
    assert definition == tutorial_definition()


def test_the_tutorials_definition_fits_the_shipped_ones_as_the_tutorial_says(tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "checkout")
    (copy / "definitions" / "issue_summaries.py").write_text(tutorial_definition())
    (check,) = documentation.commands(documentation.section(TUTORIAL, "2. Define an event"))
    done = subprocess.run(
        ["bash", "-c", check.text], cwd=copy, env={"PYTHONPATH": str(copy)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (check.output, "")


def test_the_definitions_of_the_how_to_guide_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for block in documentation.blocks((DOCS / "howto/change-a-definition.md").read_text(), "python"):
        assert load_from(tmp_path, chat_feedback=block).features.keys() <= {"chat_feedback", "answer_ratings"}


def test_every_rejection_code_is_explained() -> None:
    code = "".join(file.read_text() for file in (ROOT / "functions").rglob("*.py"))
    found = set(re.findall(r'Rejection\(\s*"([a-z_]+)"', code)) | {"queue_unavailable", "refused_by_clickhouse"}
    page = documentation.section(DOCS / "reference/events-and-formats.md", "Rejection codes")
    assert found == set(re.findall(r"^\| `([a-z_]+)`", page, re.MULTILINE))


def test_the_statuses_of_the_reference_are_those_of_the_openapi_description() -> None:
    described = yaml.safe_load((ROOT / "infra/openapi.yaml").read_text())["paths"]["/v1/events"]["post"]["responses"]
    page = documentation.section(DOCS / "reference/events-and-formats.md", "The answer of `POST /v1/events`")
    assert re.findall(r"^\| (\d{3})", page, re.MULTILINE) == list(described)


def test_the_site_is_built_without_a_warning_and_asks_no_other_site_for_anything(tmp_path: Path) -> None:
    options = ["--nitpicky", "--fail-on-warning", "--quiet"]
    done = subprocess.run([sys.executable, "-m", "sphinx", *options, DOCS, tmp_path], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    loaded = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?https?:""")
    files = [file for file in tmp_path.rglob("*") if file.suffix in (".html", ".css")]
    assert len(files) > len(EVERY_PAGE)
    assert [file.name for file in files if loaded.search(file.read_text())] == []


def test_every_key_of_the_local_stacks_file_is_explained() -> None:
    page = documentation.section(DOCS / "reference/local-stack.md", "`.local/stack.json`")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row)} == set(Stack.__struct_fields__)


def test_a_table_names_every_parameter_that_sets_a_variable_of_any_function() -> None:
    (row,) = [line for line in deployment.environment().splitlines() if line.startswith("| `DATABASE_SECRET_ARN` |")]
    assert row.endswith("| `DatabaseReaderSecretArn`, `DatabaseSecretArn`, `DatabaseWriterSecretArn` |")


def test_a_table_of_alarms_shows_expressions_as_they_are_written() -> None:
    assert "`age - ${VisibilityTimeout}`" in deployment.alarms()
    assert "{'" not in deployment.alarms()
