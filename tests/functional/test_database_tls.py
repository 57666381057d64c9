"""Connections that verify the certificate of PostgreSQL's server."""

from pathlib import Path

import psycopg
import pytest

from functions.shared import settings
from functions.shared.postgres import TimeLimits, connect
from infra.doctor.finding import Outcome
from infra.doctor.network import postgres_addresses, reached
from tests.support.tls_front import Authority, tls_front

LIMITS = TimeLimits(10, 10)


@pytest.fixture(scope="module")
def folder_of_certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder_of_certificates: Path) -> Authority:
    return Authority.made_in(folder_of_certificates, "ours")


@pytest.fixture(scope="module")
def stranger(folder_of_certificates: Path) -> Authority:
    return Authority.made_in(folder_of_certificates, "strangers")


@pytest.mark.parametrize(
    ("mode", "trusted", "host", "refusal"),
    [
        ("verify-full", "ours", "127.0.0.1", None),
        ("verify-full", "ours", "db.example", "does not match host name"),
        ("verify-full", "strangers", "127.0.0.1", "certificate verify failed"),
        ("verify-full", "rds", "127.0.0.1", "certificate verify failed"),
        ("verify-ca", "ours", "db.example", None),
        ("verify-ca", "strangers", "db.example", "certificate verify failed"),
        ("require", "strangers", "db.example", None),
        ("verify-full", "ours", None, "server does not support SSL"),
        ("require", "ours", None, "server does not support SSL"),
        ("disable", "ours", None, None),
    ],
)
@pytest.mark.parametrize("form", ["file", "text", "text on one line"])
def test_a_server_is_only_connected_to_if_the_trusted_authority_vouches_for_it(
    mode: str,
    trusted: str,
    host: str | None,
    refusal: str | None,
    form: str,
    database_url: str,
    authority: Authority,
    stranger: Authority,
    folder_of_certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = None if host is None else authority.server(folder_of_certificates, host)
    file = {"ours": authority.certificate, "strangers": stranger.certificate}.get(trusted)
    text = trusted if file is None else file.read_text()
    forms = {"file": trusted if file is None else str(file), "text": text, "text on one line": " ".join(text.split())}
    with tls_front(database_url, context) as url:
        for name, value in {"URL": url, "SSLMODE": mode, "CA": forms[form]}.items():
            monkeypatch.setenv(f"DATABASE_{name}", value)
        if refusal is not None:
            with pytest.raises(psycopg.OperationalError, match=refusal):
                connect(settings.database_url(), LIMITS)
            return
        with connect(settings.database_url(), LIMITS) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.pgconn.ssl_in_use is (mode != "disable")


def test_a_forwarded_port_leads_to_a_server_that_is_verified_by_its_own_name(
    database_url: str, authority: Authority, folder_of_certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_front(database_url, authority.server(folder_of_certificates, "db.invalid")) as url:
        monkeypatch.setenv("DATABASE_URL", url.replace("@127.0.0.1:", "@db.invalid:"))
        monkeypatch.setenv("DATABASE_CA", str(authority.certificate))
        monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
        with connect(settings.database_url(), LIMITS) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.pgconn.ssl_in_use
        (address,) = postgres_addresses("PostgreSQL", settings.database_url())
        assert reached(address).outcome is Outcome.OK
