"""Runs LocalStack on the loopback interface and in one folder, in LocalStack's own Python environment.

LocalStack has a setting for its address (GATEWAY_LISTEN), but uses only the port and listens everywhere. It has one
for its folder (FILESYSTEM_ROOT), but keeps S3's objects in a folder that all LocalStacks on the machine share.
"""

import os
from functools import partial
from pathlib import Path

from localstack.runtime.main import main
from localstack.services.s3 import provider as s3
from twisted.internet import endpoints

if __name__ == "__main__":
    host = os.environ["GATEWAY_LISTEN"].partition(":")[0]
    endpoints.TCP4ServerEndpoint = partial(endpoints.TCP4ServerEndpoint, interface=host)
    s3.DEFAULT_S3_TMP_DIR = str(Path(os.environ["FILESYSTEM_ROOT"]) / "s3")
    main()
