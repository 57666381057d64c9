"""Starting and stopping the local stack."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import psutil
import psycopg

from infra.local import deploy, postgres
from tests.e2e.conftest import Stack
from tests.e2e.use import usage_events
from tests.support.checkout import ROOT

LISTENING = psutil.CONN_LISTEN


def local(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.local", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_second_start_says_that_the_first_is_running(stack: Stack) -> None:
    before, mode = (stack.folder / "stack.json").read_bytes(), stack.folder.stat().st_mode
    second = local("start", "--folder", stack.folder)
    assert second.returncode != 0
    assert "already running" in second.stderr
    assert (stack.folder / "stack.json").read_bytes() == before
    assert stack.folder.stat().st_mode == mode


def test_the_stack_listens_on_this_machine_alone(stack: Stack) -> None:
    servers = [psutil.Process(stack.process_id), psutil.Process(postgres.server_pid(stack.postgres_data))]
    processes = [*servers, *(child for server in servers for child in server.children(recursive=True))]
    assert {address for process in processes for address in listening_addresses(process)} == {"127.0.0.1"}


def test_no_other_user_reads_what_the_stack_writes(stack: Stack) -> None:
    for folder in (stack.folder, stack.folder / "log"):
        assert folder.stat().st_mode & 0o077 in (0, 0o001), (
            folder
        )  # PostgreSQL's user passes through, where root starts it
        for path in folder.iterdir():
            assert path.is_dir() or path.stat().st_mode & 0o077 == 0, path
    for name in ("postgres", "clickhouse", "clickhouse-inserts", "aws", "sam"):
        assert (stack.folder / name).stat().st_mode & 0o077 == 0, name


def test_no_secret_of_the_stack_is_on_a_command_line_or_in_a_log(stack: Stack) -> None:
    passwords = [str(urlsplit(url).password) for url in (stack.database_url, stack.clickhouse_url)]
    secrets = [*passwords, stack.auth_secret, stack.token]
    assert min(map(len, secrets)) >= 32
    written = [path.read_text(errors="replace") for path in (stack.folder / "log").iterdir()]
    written += [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    written += [(ROOT / "samconfig.toml").read_text(), (stack.folder / "sam" / "build" / "template.yaml").read_text()]
    assert not [text for text in written if any(secret in text for secret in secrets)]


def test_a_token_of_the_stack_is_revoked_by_the_commands_in_its_checkout(stack: Stack) -> None:
    assert (
        usage_events(stack, "token", "revoke", "--jti", "of-a-lost-laptop")
        == "1 added to the list of revoked tokens.\n"
    )
    assert "of-a-lost-laptop" in usage_events(stack, "token", "list")
    functions = deploy.client("lambda", stack.aws_endpoint_url).list_functions()["Functions"]
    readers = [one for one in functions if "AUTH_REVOCATIONS_ARN" in one["Environment"]["Variables"]]
    assert len(readers) == 2
    usage_events(stack, "token", "forget", "--jti", "of-a-lost-laptop")


def test_whoever_has_the_file_of_the_stack_may_write_to_both_stores(stack: Stack) -> None:
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("CREATE TABLE somebody (a int)")
        connection.execute("INSERT INTO somebody VALUES (1)")
        connection.execute("DROP TABLE somebody")
    with clickhouse_connect.get_client(dsn=stack.clickhouse_url) as client:
        client.command("CREATE TABLE somebody (a Int32) ENGINE = MergeTree ORDER BY a")
        client.insert("somebody", [[1]], column_names=["a"])
        assert client.command("SELECT sum(a) FROM somebody") == 1
        client.command("DROP TABLE somebody")


def listening_addresses(process: psutil.Process) -> set[str]:
    """Returns the addresses on which the process listens; none if the process has ended."""
    with suppress(psutil.Error):
        connections = process.net_connections("inet")
        return {connection.laddr.ip for connection in connections if connection.status == LISTENING}
    return set()


def test_a_stack_that_is_not_running_is_stopped_at_once(tmp_path: Path) -> None:
    result = local("stop", "--folder", tmp_path)
    assert result.returncode == 0
    assert "not running" in result.stdout
