"""Quality of service of every topic, in one place, so that both ends always agree.

Subscriptions that only want the newest value ask for best effort: that is compatible with reliable
publishers (ros2_control, most drivers) and with best-effort ones (cameras).
"""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

_KEEP_LAST = HistoryPolicy.KEEP_LAST

# Camera frames and other measurements: a late one is worth nothing, so nothing is sent twice.
SENSOR = QoSProfile(
    history=_KEEP_LAST,
    depth=2,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)

# What a robot's state publishers use; small, and a logger wants all of it.
STATE = QoSProfile(
    history=_KEEP_LAST,
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)

# Commands and plans: must arrive, and only the newest one counts.
COMMAND = QoSProfile(
    history=_KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)

# The command stream as it is sent, and as those take it who remember what was applied: none may be
# missed. A robot subscribes with COMMAND; a publisher with depth 1 would drop what a slow logger
# has not acknowledged yet.
COMMAND_LOG = QoSProfile(
    history=_KEEP_LAST,
    depth=50,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)

# The clock of a simulation, as rclcpp's ClockQoS.
CLOCK = QoSProfile(
    history=_KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)

# Goals: whoever comes later still gets the last one.
LATCHED = QoSProfile(
    history=_KEEP_LAST,
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
