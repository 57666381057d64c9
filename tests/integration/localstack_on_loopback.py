"""LocalStack on the loopback interface alone; it runs in LocalStack's environment, not in the project's.

LocalStack is told an address to listen on (GATEWAY_LISTEN), but keeps only the port of it and listens everywhere.
"""

import os
from functools import partial

from localstack.runtime.main import main
from twisted.internet import endpoints

if __name__ == "__main__":
    host = os.environ["GATEWAY_LISTEN"].partition(":")[0]
    endpoints.TCP4ServerEndpoint = partial(endpoints.TCP4ServerEndpoint, interface=host)
    main()
