"""PyJWT, imported without the certificates of `cryptography`, which take half the time of the import.

They are imported when something of them is used. An issuer's keys need none of them. With a secret, PyJWT uses them to
see that the secret is no certificate.
"""

import sys
from importlib.util import LazyLoader, find_spec, module_from_spec


def import_when_used(name: str) -> None:
    """Makes every import of a submodule wait until something of the module is used.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = LazyLoader(spec.loader)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    parent, _, submodule = name.rpartition(".")
    setattr(sys.modules[parent], submodule, module)  # as an import would


import_when_used("cryptography.x509")

import jwt  # noqa: E402

__all__ = ["import_when_used", "jwt"]
