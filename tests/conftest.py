"""For all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell that starts pytest in its background lets it and all its children ignore Ctrl-C, which
# is then never heard by the commands that are tested for it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests look at the same examples every time, however long one takes on a busy machine.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")
