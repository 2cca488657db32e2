"""How the processes of one graph find each other, and nobody else's: shared memory, own domain."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import time
from pathlib import Path

READY_FD = "FORESEE_READY_FD"  # the starter's pipe: one line, "ready" or "error: …"
STDIN_IS_PARENT = "FORESEE_STDIN_IS_PARENT"  # stdin is a pipe that closes when the starter dies
SUPERVISOR = "FORESEE_SUPERVISOR"  # `process_watch.identity` of the supervisor that started it
ESTOP_LATCHED = "FORESEE_ESTOP_LATCHED"  # "true": an e-stop outlives the process it was told

_PROFILE = Path(__file__).with_name("shm_profile.xml")
_SHM = Path("/dev/shm")
_LOCK_FILE = re.compile(r"fastrtps_(?P<port>port)?[0-9a-f]+_[es]l")
_YOUNG_S = 1.0
# DDS derives port numbers from the domain: 7400 + 250 · domain must stay below 65536.
_DOMAINS = range(1, 232)


def transport_environment(domain_id: int) -> dict[str, str]:
    """The environment variables every process of a graph must have before it joins."""
    return {
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "FASTDDS_BUILTIN_TRANSPORTS": "SHM",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(_PROFILE),
    }


def free_domain_id() -> int:
    """A random ROS domain that nobody on this machine uses over shared memory now."""
    taken = {path.name for path in _SHM.glob("fastrtps_port*")} if _SHM.is_dir() else set()
    free = [d for d in _DOMAINS if f"fastrtps_port{7400 + 250 * d}" not in taken]
    return random.SystemRandom().choice(free or list(_DOMAINS))


def remove_orphaned_shared_memory(since: float) -> list[str]:
    """Remove what killed processes have left in shared memory since a time (`time.time`).

    Fast DDS keeps a lock on a file beside every segment and port for as long as its owner lives;
    one that can be locked has no owner. Files younger than a second are left: their owner may be
    about to take the lock.

    Returns:
        names of the files removed.
    """
    removed = []
    for lock in _SHM.glob("fastrtps_*"):
        match = _LOCK_FILE.fullmatch(lock.name)
        if match is None or _in_use(lock, since):
            continue
        base = lock.name[:-3]
        names = [lock.name, base] + ([f"sem.{base}_mutex"] if match["port"] else [])
        for name in names:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                (_SHM / name).unlink()
                removed.append(name)
    return removed


def _in_use(lock: Path, since: float) -> bool:
    """Whether a lock file has an owner, or is too old or too young to be ours to remove."""
    try:
        with lock.open("ab") as file:
            if not since <= os.fstat(file.fileno()).st_ctime <= time.time() - _YOUNG_S:
                return True
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
