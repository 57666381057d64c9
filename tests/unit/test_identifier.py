from datetime import UTC, datetime
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from functions.shared.identifier import IdSpace, derived_id, new_id, time_of

MOMENT = datetime(2026, 11, 20, 15, 0, 59, 936000, UTC)


def test_a_derived_id_is_a_uuid_of_version_7_with_its_time() -> None:
    identifier = derived_id(MOMENT, "message", 3)
    assert (identifier.version, identifier.variant) == (7, UUID(int=1 << 63).variant)
    assert time_of(identifier) == MOMENT


def test_a_derived_id_depends_on_position_and_source_and_nothing_else() -> None:
    sources = [("message", 0), ("message", 1), ("other", 0), ("message/0", 1)]
    first = [derived_id(MOMENT, source, position) for source, position in sources]
    assert first == [derived_id(MOMENT, source, position) for source, position in sources]
    assert len(set(first)) == len(sources)


def test_only_a_uuid_of_version_7_has_a_time() -> None:
    assert time_of(UUID("4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44")) is None


def test_a_new_id_has_its_time_and_is_no_other() -> None:
    identifiers = {new_id(int(MOMENT.timestamp() * 1000)) for _ in range(100)}
    assert len(identifiers) == 100
    assert {(identifier.version, time_of(identifier)) for identifier in identifiers} == {(7, MOMENT)}


@given(sent=st.uuids() | st.integers(0, 2**48 - 1).map(new_id), names=st.lists(st.text(), max_size=3))
def test_a_stored_id_is_the_same_each_time_and_another_in_each_space(sent: UUID, names: list[str]) -> None:
    stored = IdSpace(names).stored_id(sent)
    assert stored == IdSpace(names).stored_id(sent)
    assert stored not in {sent, IdSpace([*names, ""]).stored_id(sent), IdSpace(["", *names]).stored_id(sent)}
    assert time_of(stored) == time_of(sent)
    assert (stored.version, stored.variant) == (7 if sent.version == 7 else 8, RFC_4122)
