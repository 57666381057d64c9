"""Installs the browser."""

import sys

from infra.front_end import FrontEndError
from infra.local.browser import install

if __name__ == "__main__":
    try:
        install()
    except FrontEndError as error:
        sys.exit(str(error))
