"""For all tests."""

from __future__ import annotations

import signal

# A shell that starts pytest in its background lets it and all its children ignore Ctrl-C, which
# is then never heard by the commands that are tested for it.
signal.signal(signal.SIGINT, signal.default_int_handler)
