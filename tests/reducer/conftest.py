"""What tests of the reducer share."""

from hypothesis import settings

# How long one example takes says how busy the machine is, nothing else.
settings.register_profile("reducer", deadline=None)
settings.load_profile("reducer")
