"""What several tests need."""

import time


def wait_until(condition, timeout=30.0):
    """Call *condition* until it returns something true, which is returned; fail after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still {value!r} after {timeout} s")
        time.sleep(0.01)
