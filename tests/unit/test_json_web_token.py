"""What importing PyJWT leaves for later."""

import subprocess
import sys

import pytest

from functions.shared.json_web_token import import_when_used

UNUSED = """
import sys
from functions.shared import auth
assert "cryptography.x509.base" not in sys.modules
from cryptography import x509
assert "cryptography.x509.base" not in sys.modules
assert x509.Certificate.__name__ == "Certificate"
assert "cryptography.x509.base" in sys.modules
"""


def test_certificates_are_imported_when_something_of_them_is_used() -> None:
    subprocess.run([sys.executable, "-c", UNUSED], check=True)


def test_a_module_that_is_missing_is_missed_at_once() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'cryptography\.missing'"):
        import_when_used("cryptography.missing")


def test_a_module_that_was_imported_before_stays() -> None:
    before = sys.modules["cryptography.exceptions"]
    import_when_used("cryptography.exceptions")
    assert sys.modules["cryptography.exceptions"] is before
