"""A ClickHouse server whose user has no more rights than a page of the documentation grants.

The embedded engine has no users to create by statements. It takes the grants and the settings profile of the page for
its only user from a file.

`python -m tests.support.limited_clickhouse FOLDER PORT` serves the data in FOLDER, where `users.xml` is the file.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from infra.local import ports
from infra.local.clickhouse import rights
from infra.local.clickhouse.server import Server
from infra.local.process import Processes, listens, wait_until
from tests.support import documentation
from tests.support.checkout import ROOT

PASSWORD = "limited"
SECONDS = 60

_PROFILE = re.compile(r"CREATE SETTINGS PROFILE \w+ SETTINGS (.+)")
_SETTING = re.compile(r"(\w+) = (\d+)(?: (READONLY)| MAX (\d+))?")

_USERS = """
<clickhouse>
    <profiles><default>{settings}<constraints>{constraints}</constraints></default></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
            <grants>{grants}</grants>
        </default>
    </users>
</clickhouse>
"""


def statements_of(page: Path) -> list[str]:
    """Returns the statements of ClickHouse on a page, each in one line."""
    blocks = documentation.blocks(page.read_text(), "sql")
    return [" ".join(text.split()) for block in blocks for text in block.split(";") if text.strip()]


def users_of(statements: Sequence[str]) -> str:
    """Returns the file that gives the engine's user what the statements give the user that they create."""
    granted = [statement.rpartition(" TO ")[0] for statement in statements if statement.startswith("GRANT")]
    granted = [one.replace("usage_events.*", f"{rights.DATABASE}.*") for one in granted]
    profile = "".join(found[1] for statement in statements if (found := _PROFILE.fullmatch(statement)))
    settings, constraints = "", ""
    for name, value, fixed, most in _SETTING.findall(profile):
        settings += f"<{name}>{value}</{name}>"
        constraints += f"<{name}><const/></{name}>" * bool(fixed) + f"<{name}><max>{most}</max></{name}>" * bool(most)
    grants = "".join(f"<query>{grant}</query>" for grant in granted)
    return _USERS.format(settings=settings, constraints=constraints, grants=grants)


@contextmanager
def limited_clickhouse(folder: Path, users: str) -> Iterator[str]:
    """Runs a server on the data of a server of `serve_clickhouse` that has stopped; yields its URL."""
    processes = Processes(folder / "limited.json")
    (folder / "users.xml").write_text(users)
    port, log = ports.free(), folder / "limited.log"
    command = [sys.executable, "-m", "tests.support.limited_clickhouse", str(folder), str(port)]
    process = processes.start(command, log, {"PYTHONPATH": str(ROOT), "TZ": "UTC"}, inherit=False)
    try:
        wait_until(lambda: listens(process, port), process, "ClickHouse", log, SECONDS)
        yield f"clickhouse://default:{PASSWORD}@{ports.HOST}:{port}/{rights.DATABASE}"
    finally:
        processes.stop()


def serve(folder: Path, port: int) -> None:
    """Serves until the process is stopped."""
    data = folder / "clickhouse"
    with patch.object(rights, "_USERS", (folder / "users.xml").read_text()):
        server = Server(data, rights.make_folders(data), port, PASSWORD)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
