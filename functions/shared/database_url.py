"""Makes PostgreSQL's URL from what a secret holds, and makes connections verify the server's certificate."""

import hashlib
import ipaddress
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from functions.shared.setting_error import SettingError

SSL_MODES = ("verify-full", "verify-ca", "require", "disable")
RDS_CA = "rds"

_RDS_BUNDLE = Path(__file__).with_name("rds_ca.pem")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_DEFAULT_PORT = "5432"


class _DatabaseSecret(msgspec.Struct):
    """Secret of a database. RDS's own secret holds username and password; Secrets Manager's templates hold all."""

    username: str
    password: str
    host: str | None = None
    port: int | str | None = None
    dbname: str | None = None


def url_of_secret(text: str, host: str | None, port: str | None, name: str | None) -> str:
    """Returns the URL that a secret holds or describes.

    Args:
        text: a URL, or JSON in one of the forms of RDS and Secrets Manager.
        host: wins over the secret's host, like `port` and `name`.

    Raises:
        SettingError: the text is neither, or a part is missing; the message names the setting that adds it.
    """
    if not text.startswith("{"):
        return checked_url(_placed(text, host, port, name), "the secret that DATABASE_SECRET_ARN names")
    try:
        secret = msgspec.json.decode(text, type=_DatabaseSecret)
    except msgspec.DecodeError as error:
        raise SettingError(
            f"the secret that DATABASE_SECRET_ARN names is neither a URL nor the JSON that RDS stores: {error}"
        ) from error
    address = _required(host or secret.host, "host", "DATABASE_HOST")
    database = _required(name or secret.dbname, "dbname", "DATABASE_NAME")
    number = _checked_port(str(port or secret.port or _DEFAULT_PORT))
    user, password = quote(secret.username, safe=""), quote(secret.password, safe="")
    shown = f"[{address}]" if ":" in address else quote(address, safe="")
    return f"postgresql://{user}:{password}@{shown}:{number}/{quote(database, safe='')}"


def _placed(url: str, host: str | None, port: str | None, name: str | None) -> str:
    """Returns the URL with another address, as parameters, which win in libpq."""
    parts = urlsplit(url)
    added = {"port": _only_port(parts)} if host and "port" not in dict(parse_qsl(parts.query)) else {}
    added |= {"host": host} if host else {}
    added |= {"port": _checked_port(port)} if port else {}
    added |= {"dbname": name} if name else {}
    if not added:
        return url
    replaced = added.keys() | ({"hostaddr"} if host else set())
    kept = [one for one in parts.query.split("&") if one and one.partition("=")[0] not in replaced]
    return _with_query(url, "&".join([*kept, urlencode(added, quote_via=quote)]))


def _with_query(url: str, query: str) -> str:
    return f"{url.partition('?')[0]}?{query}"  # urllib drops the slashes before an empty host


def _only_port(parts: SplitResult) -> str:
    try:
        return str(parts.port or _DEFAULT_PORT)
    except ValueError:  # there are several hosts
        return _DEFAULT_PORT


def _checked_port(number: str) -> str:
    if not (number.isascii() and number.isdecimal() and 0 < int(number) < 2**16):
        raise SettingError("DATABASE_PORT, or the port in the secret that DATABASE_SECRET_ARN names, is not a port")
    return number


def checked_url(url: str, name: str) -> str:
    """Returns the URL, which must be of PostgreSQL and name a database.

    Args:
        name: where the URL comes from, for messages, which do not quote the URL and its password.

    Raises:
        SettingError: the URL is not of PostgreSQL, or names no database.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingError(f"{name} must start with postgresql://")
    parts = urlsplit(url)
    if not (parts.path.strip("/") or {"dbname", "service"} & dict(parse_qsl(parts.query)).keys()):
        raise SettingError(f"{name} must end with a slash and the name of the database")
    return url


def verified_url(url: str, mode: str | None, ca: str | None) -> str:
    """Returns the URL with parameters that make the connection verify the server's certificate.

    Parameters of the URL win. Without a mode, a server on this machine may be without TLS.

    Args:
        mode: one of `SSL_MODES`; None for `verify-full`.
        ca: `rds`, `system`, the path of a PEM file, or certificates as PEM; None for `rds`.

    Raises:
        SettingError: mode or certificates are malformed.
    """
    if mode is not None and mode not in SSL_MODES:
        raise SettingError(f"DATABASE_SSLMODE must be one of {', '.join(SSL_MODES)}, not {mode!r}")
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    if "sslmode" not in given and mode is None and _is_local(url):
        return url
    chosen = given.get("sslmode", mode or "verify-full")
    added = {"sslmode": chosen}
    if chosen.startswith("verify-"):
        added["sslrootcert"] = _ca_file(ca or RDS_CA)
    missing = {name: value for name, value in added.items() if name not in given}
    if not missing:
        return url
    return _with_query(url, "&".join(filter(None, [parts.query, urlencode(missing, quote_via=quote, safe="/")])))


def _required(value: str | None, key: str, setting: str) -> str:
    if not value:
        raise SettingError(f"{setting} must be set: the secret that DATABASE_SECRET_ARN names has no {key}")
    return value


def _is_local(url: str) -> bool:
    return all(map(is_this_machine, _hosts(url)))


def _hosts(url: str) -> Iterator[str]:
    """Yields the names and addresses of the servers that libpq connects to by a URL; none for its default, a socket.

    A name beside an address counts too: a forwarded port of this machine leads to a server elsewhere.
    """
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    addresses = given.get("hostaddr") or os.environ.get("PGHOSTADDR")
    names = given.get("host") or ",".join(_names(parts)) or os.environ.get("PGHOST")
    for named in filter(None, (addresses, names)):
        yield from named.split(",")


def _names(parts: SplitResult) -> Iterator[str]:
    """Yields the hosts before a URL's path."""
    for part in parts.netloc.rpartition("@")[2].split(","):
        address = part[1:].partition("]")[0] if part.startswith("[") else part.partition(":")[0]
        if address:
            yield unquote(address)


def is_this_machine(host: str) -> bool:
    """Whether the name or address of a host, or the folder of a socket, is one of this machine."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _ca_file(ca: str) -> str:
    if ca == RDS_CA:
        return str(_RDS_BUNDLE)
    if ca == "system":
        found = ssl.get_default_verify_paths().cafile
        if found is None:
            raise SettingError("DATABASE_CA is system, but this system has no file of certificates")
        return found
    if "-----BEGIN" in ca:
        return str(_written(ca))
    if not Path(ca).is_file():
        raise SettingError(f"DATABASE_CA must be rds, system, a file, or certificates as PEM; {ca!r} is no file")
    return ca


def _written(text: str) -> Path:
    """Writes certificates, whose line breaks may be lost, to a file: libpq reads them from files alone."""
    try:
        found = [ssl.DER_cert_to_PEM_cert(_der(body)) for body in _CERTIFICATE.findall(text)]
    except ValueError:
        found = []
    if not found:
        raise SettingError("DATABASE_CA holds no certificate as PEM")
    content = "".join(found)
    file = Path(tempfile.gettempdir(), f"database-ca-{hashlib.sha256(content.encode()).hexdigest()}.pem")
    if not file.is_file() or file.read_text() != content:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as scratch:
            scratch.write(content)
        Path(scratch.name).replace(file)
    return file


def _der(body: str) -> bytes:
    text = "".join(body.replace("\\n", "\n").split())
    return ssl.PEM_cert_to_DER_cert(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
