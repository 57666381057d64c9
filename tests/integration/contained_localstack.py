"""LocalStack on the loopback interface and in one folder; it runs in LocalStack's environment, not in the project's.

LocalStack is told an address to listen on (GATEWAY_LISTEN), but heeds only its port and listens everywhere. It is told
a folder (FILESYSTEM_ROOT), but keeps what S3 holds in one that all that run on the machine would share.
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
