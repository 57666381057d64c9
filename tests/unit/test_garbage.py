import gc

import pytest

from functions.shared.garbage import collected_afterwards


def test_cycles_are_looked_for_after_the_block_and_not_in_it() -> None:
    with collected_afterwards():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_block_that_fails_is_no_exception() -> None:
    with pytest.raises(ValueError, match="broken"), collected_afterwards():
        raise ValueError("broken")
    assert gc.isenabled()
