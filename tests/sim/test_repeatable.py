import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sim
from sim.assets import TRIANGLES_PER_LINK

EPISODE = """
import gymnasium, hashlib, numpy, sim, sys
env = gymnasium.make(sys.argv[1], randomization={"color": 0.1, "camera_position_m": 0.02})
rng = numpy.random.default_rng(7)
observation, info = env.reset(seed=7)
explorer = sim.make_explorer(env, rng)
digest = hashlib.sha256()
for _ in range(40):
    observation, _, _, _, info = env.step(explorer.action(info))
    for name in sorted(observation):
        digest.update(observation[name].tobytes())
print("frames", digest.hexdigest())
"""


def start(env_id, cache):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", EPISODE, env_id],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(sim.__file__).parents[1],
    )


@pytest.mark.parametrize("env_id", sim.ENV_IDS)
def test_two_processes_see_the_same_frames_and_share_a_new_cache(env_id, tmp_path):
    """Both start on an empty cache, as parallel workers of the first collection do."""
    processes = [start(env_id, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    first, second = (output.split("frames ")[1].strip() for output in outputs)
    assert first == second != hashlib.sha256().hexdigest()
    if env_id != "foresee/TwoRooms-v0":  # has no arm to prepare
        (folder,) = (tmp_path / "foresee").iterdir()
        assert (folder / "panda.urdf").is_file()


def test_prepared_meshes_are_light_and_whole():
    from sim.assets import panda_urdf

    meshes = list(panda_urdf().parent.glob("*.obj"))
    assert len(meshes) == 9  # eight links of the arm and the hand
    for mesh in meshes:
        lines = mesh.read_text().splitlines()
        vertices = np.array([line.split()[1:] for line in lines if line[0] == "v"], float)
        faces = np.array([line.split()[1:] for line in lines if line[0] == "f"], int)
        assert 50 < len(faces) <= 1.3 * TRIANGLES_PER_LINK, mesh.name
        assert faces.min() >= 1, mesh.name
        assert faces.max() <= len(vertices), mesh.name
        assert np.isfinite(vertices).all(), mesh.name
        assert np.ptp(vertices, axis=0).max() > 0.05, mesh.name  # metres, not millimetres
