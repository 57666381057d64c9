"""Starting the local stack where it already runs."""

from pathlib import Path

import pytest

from infra.local import stack


def test_a_second_start_leaves_the_running_stacks_folder_open_to_postgresql(tmp_path: Path) -> None:
    with stack._locked(tmp_path):
        tmp_path.chmod(0o701)  # as `postgres.start` leaves the folder if root starts it
        with pytest.raises(stack.AlreadyRunning), stack.up(tmp_path):
            pass
        assert tmp_path.stat().st_mode & 0o777 == 0o701
