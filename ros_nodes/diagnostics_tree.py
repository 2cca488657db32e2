"""``/diagnostics`` of all nodes as one tree, in the form of ROS's diagnostic_aggregator."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

_STALE_S = 5.0  # as diagnostic_aggregator has it
# Levels in the order of how grave they are; DiagnosticStatus gives them as bytes.
_GRAVITY = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


class DiagnosticsTree:
    """The newest status of everything that reports, stale when it has not for five seconds.

    Names become paths: ``/foresee/<name>``. With a namespace, those of other robots are left out.
    """

    def __init__(self, namespace: str) -> None:
        """Start empty.

        Args:
            namespace: ``/`` or that of the nodes, ``/left``.
        """
        self._prefix = f"{namespace.strip('/')}/".lstrip("/")
        self._latest: dict[str, tuple[DiagnosticStatus, float]] = {}

    def add(self, message: DiagnosticArray, now_s: float) -> None:
        """Take in what a node reports at a monotonic time."""
        for status in message.status:
            if status.name.startswith(self._prefix):
                self._latest[status.name.removeprefix(self._prefix)] = (status, now_s)

    def statuses(self, now_s: float) -> list[DiagnosticStatus]:
        """The root first, which says what is worst, then every status by name."""
        leaves = []
        for name, (status, seen_s) in sorted(self._latest.items()):
            level, text = status.level, status.message
            if now_s - seen_s > _STALE_S:
                level, text = DiagnosticStatus.STALE, f"silent for {now_s - seen_s:.0f} s"
            leaves.append(
                DiagnosticStatus(
                    level=level,
                    name=f"/foresee/{name}",
                    message=text,
                    hardware_id=status.hardware_id,
                    values=status.values,
                )
            )
        root = DiagnosticStatus(level=DiagnosticStatus.OK, name="/foresee", message="all well")
        if leaves:
            worst = max(leaves, key=lambda status: _gravity(status.level))
            root.level = worst.level
            if worst.level != DiagnosticStatus.OK:
                root.message = f"{worst.name.removeprefix('/foresee/')}: {worst.message}"
        return [root, *leaves]


def _gravity(level: bytes) -> int:
    return _GRAVITY.index(level) if level in _GRAVITY else len(_GRAVITY)
