import gc

import pytest

from functions.shared.gc_tuning import gc_disabled, gc_frozen


def test_no_garbage_is_collected_within_the_block() -> None:
    with gc_disabled():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_block_that_fails_is_no_exception() -> None:
    with pytest.raises(ValueError, match="broken"), gc_disabled():
        raise ValueError("broken")
    assert gc.isenabled()


def test_what_is_made_while_a_function_starts_is_not_looked_at_again() -> None:
    made: list[list[int]] = []
    try:
        with gc_frozen():
            assert not gc.isenabled()
            made.append([])
        assert gc.isenabled()
        assert all(found is not made for found in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_function_that_cannot_start_leaves_the_search_on() -> None:
    try:
        with pytest.raises(ImportError), gc_frozen():
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()
