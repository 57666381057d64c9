import gc

import pytest

from functions.ingest.gc_tuning import collected_afterwards, kept


def test_cycles_are_looked_for_after_the_block_and_not_in_it() -> None:
    with collected_afterwards():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_block_that_fails_is_no_exception() -> None:
    with pytest.raises(ValueError, match="broken"), collected_afterwards():
        raise ValueError("broken")
    assert gc.isenabled()


def test_what_is_made_while_a_function_starts_is_not_looked_at_again() -> None:
    made: list[list[int]] = []
    try:
        with kept():
            assert not gc.isenabled()
            made.append([])
        assert gc.isenabled()
        assert all(found is not made for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_function_that_cannot_start_leaves_the_search_on() -> None:
    try:
        with pytest.raises(ImportError), kept():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
