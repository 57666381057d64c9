"""Bodies made to take memory are answered as any other, within the memory that the ingest function may take."""

import sys
from pathlib import Path

import pytest

from tests.support.process_memory import Outcome
from tests.support.worst_bodies import MAX_INGEST_MEGABYTES, WORST_BODIES, post_worst_bodies


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder: Path = tmp_path_factory.mktemp("bodies")
    return {outcome.name: outcome for outcome in post_worst_bodies(folder)}


@pytest.mark.parametrize("name", WORST_BODIES)
def test_a_body_made_to_take_memory_is_answered_properly(outcomes: dict[str, Outcome], name: str) -> None:
    assert outcomes[name].answer == WORST_BODIES[name].answer


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is of Linux, whose peak the benchmark measures")
def test_no_body_takes_more_memory_than_the_ingest_function_may(outcomes: dict[str, Outcome]) -> None:
    assert max(outcomes.values(), key=lambda outcome: outcome.megabytes).megabytes <= MAX_INGEST_MEGABYTES
