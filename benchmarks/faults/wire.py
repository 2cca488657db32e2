"""How the processes of the campaign talk: JSON lines in on stdin, answers out on stdout."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

# Begins a line that is an answer; the middleware writes lines of its own.
ANSWER = "> "
Spun = TypeVar("Spun", bound=Node)


def serve(
    make: Callable[[dict[str, Any]], Spun], reply: Callable[[Spun, dict[str, Any]], object]
) -> None:
    """Spin a node on a thread, and answer the lines of stdin until it ends.

    Args:
        make: the node, from the first line.
        reply: the answer to each line after it.
    """
    begin = json.loads(sys.stdin.readline())
    rclpy.init(args=[])
    node = make(begin)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.2)

    thread = threading.Thread(target=spin, name="executor")
    thread.start()
    _answer("ready")
    for line in sys.stdin:
        _answer(reply(node, json.loads(line)))
    stop.set()
    executor.wake()
    thread.join()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def _answer(value: object) -> None:
    print(f"{ANSWER}{value}", flush=True)
