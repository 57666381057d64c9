"""The authorities of RDS that connections to PostgreSQL trust."""

import re
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from tests.support.checkout import ROOT

TEXT = (ROOT / "functions" / "shared" / "rds_ca.pem").read_text()
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
OF_REGION = re.compile(r"Amazon RDS (\S+) Root CA (?:RSA2048|RSA4096|ECC384) G1")
LONG = timedelta(days=3650)


def certificates() -> list[x509.Certificate]:
    """Returns the certificates of the file; one of the public authorities has a serial number of an old form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return [x509.load_pem_x509_certificate(pem.encode()) for pem in CERTIFICATE.findall(TEXT)]


def test_each_is_an_authority_of_amazon_that_vouches_for_itself_for_long() -> None:
    for certificate in certificates():
        certificate.verify_directly_issued_by(certificate)
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert certificate.not_valid_after_utc > datetime.now(UTC) + LONG
        (company,) = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        assert str(company.value).startswith(("Amazon", "Starfield"))


def test_a_region_has_its_three_authorities_once() -> None:
    names = [str(one.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value) for one in certificates()]
    assert len(set(names)) == len(names)
    regions = Counter(found[1] for name in names if (found := OF_REGION.fullmatch(name)))
    assert set(regions.values()) == {3}
    assert len(regions) >= 27
