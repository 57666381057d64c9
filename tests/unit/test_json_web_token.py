"""What importing PyJWT leaves for later."""

import subprocess
import sys

import pytest

from functions.shared.json_web_token import import_when_used

CERTIFICATES = "cryptography.x509.base"
VERIFIES_BY_PUBLISHED_KEYS = f"""
import sys
from functions.shared.auth import Authenticator, jwt
from functions.shared.settings import AuthSettings
from cryptography.hazmat.primitives.asymmetric import ec, rsa
Authenticator(AuthSettings(jwks_url="https://issuer"))
for algorithm, name, key in (
    (jwt.algorithms.ECAlgorithm, "ES256", ec.generate_private_key(ec.SECP256R1())),
    (jwt.algorithms.RSAAlgorithm, "RS256", rsa.generate_private_key(65537, 2048)),
):
    published = jwt.PyJWK(algorithm.to_jwk(key.public_key(), as_dict=True), name)
    assert jwt.decode(jwt.encode({{"sub": "1"}}, key, name), published, [name]) == {{"sub": "1"}}
assert {CERTIFICATES!r} not in sys.modules
from cryptography import x509
assert x509.Certificate.__name__ == "Certificate"
assert {CERTIFICATES!r} in sys.modules
"""
STARTS_WITH_A_SECRET = f"""
import sys
from functions.shared.auth import Authenticator
from functions.shared.settings import AuthSettings
Authenticator(AuthSettings(secret="a secret of thirty-two characters, at least"))
assert {CERTIFICATES!r} in sys.modules
"""


@pytest.mark.parametrize("program", [VERIFIES_BY_PUBLISHED_KEYS, STARTS_WITH_A_SECRET], ids=["keys", "secret"])
def test_certificates_are_imported_at_the_start_for_a_secret_and_else_when_used(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_module_that_is_missing_is_missed_at_once() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'cryptography\.missing'"):
        import_when_used("cryptography.missing")


def test_a_module_that_was_imported_before_stays() -> None:
    before = sys.modules["cryptography.exceptions"]
    import_when_used("cryptography.exceptions")
    assert sys.modules["cryptography.exceptions"] is before
