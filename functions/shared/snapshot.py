"""What a function does when Lambda starts it from a snapshot of its memory (SnapStart).

Lambda takes the snapshot once for each version, when the code of the module is done, and starts every instance from it,
perhaps weeks later. So an instance must not keep what was true then: the age of what was read, and the state of random
numbers, which would be the same in all instances. Connections are opened by the first invocation, not before.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

import os
import random
from collections.abc import Callable

_INITIALIZATION = "AWS_LAMBDA_INITIALIZATION_TYPE"


def after_restore(refresh: Callable[[], object]) -> None:
    """Has Lambda call `refresh` in each instance that starts from the snapshot; without SnapStart, does nothing.

    If `refresh` raises, Lambda does not use the instance, as if the function's start had failed.
    """
    if os.environ.get(_INITIALIZATION) != "snap-start":
        return
    from snapshot_restore_py import register_after_restore  # part of Lambda's runtime

    register_after_restore(refresh)


after_restore(random.seed)  # pauses between retries are random, so that instances do not retry in step
