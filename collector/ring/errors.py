"""What can go wrong with a ring."""


class RingError(Exception):
    """A file that is no ring, or no longer one; the message says why."""
