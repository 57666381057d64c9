"""Installs the browser."""

import sys

from infra.front_end import FrontEndError
from infra.local.browser import install, what_is_missing

if __name__ == "__main__":
    try:
        install()
    except FrontEndError as error:
        sys.exit(str(error))
    if missing := what_is_missing():
        print(f"The tests of the pages are skipped. {missing}", file=sys.stderr)
