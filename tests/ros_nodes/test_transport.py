"""Large images arrive whole, thanks to the Fast DDS profile."""

import subprocess
import sys
import threading
import time

import numpy as np

from ros_nodes.client import GraphClient
from ros_nodes.transport import free_domain_id

FRAMES = 60
SENDER = """
import sys, time
import numpy as np
from ros_nodes import convert, qos
from ros_nodes.transport import transport_environment
import os
os.environ.update(transport_environment(int(sys.argv[1])))
import rclpy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "scene/image_raw", qos.SENSOR)
while publisher.get_subscription_count() == 0:
    time.sleep(0.05)
pixels = np.random.default_rng(0).integers(0, 256, (480, 480, 3), np.uint8)
for number in range(int(sys.argv[2])):
    pixels[0, 0] = number
    publisher.publish(convert.array_to_image(pixels, time.time_ns(), "optical"))
    time.sleep(1 / 30)
time.sleep(0.5)
node.destroy_node()
rclpy.try_shutdown()
"""


def test_480_px_at_30_hz_loses_nothing_best_effort():
    domain_id = free_domain_id()
    seen: set[int] = set()
    done = threading.Event()
    with GraphClient(domain_id) as client:

        def watch() -> None:
            while not done.is_set():
                frame = client.frame
                if frame is not None:
                    seen.add(int(frame[0, 0, 0]))
                time.sleep(0.002)

        watcher = threading.Thread(target=watch)
        watcher.start()
        sender = subprocess.run(
            [sys.executable, "-c", SENDER, str(domain_id), str(FRAMES)], timeout=240
        )
        done.set()
        watcher.join()
        assert sender.returncode == 0
        assert client.frame.shape == (480, 480, 3)
        assert client.frame.dtype == np.uint8
    # Measured without the profile: 11 of 150. Two may be overwritten before they are looked at.
    assert len(seen) >= FRAMES - 2
