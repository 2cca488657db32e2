"""Every defect that is put into a recording is found at its place, and a good one passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from blobs import SPEC, blob_episode
from damage import DATA, VIDEO, cut, forget_hashes, put, rewrite

from world_model.data import DatasetError, DatasetSpec, DatasetWriter, Episode, open_dataset
from world_model.data.check import Report, check_dataset
from world_model.data.findings import Finding, ranges
from world_model.data.select import shift_actions

NAMED = dataclasses.replace(
    SPEC, proprio_names=("joint.position", "joint.velocity", "tool.x"), action_names=("vx", "vy")
)
Change = Callable[[Episode], Episode]


def moving(seed: int, length: int = 60) -> Episode:
    """A blob whose readings are a joint, its velocity and a position in metres."""
    episode = blob_episode(seed, length, SPEC)
    pushes = np.random.default_rng(seed).normal(0, 0.05, length + 4)
    angle = np.cumsum(np.convolve(pushes, np.ones(5) / 3, "valid")).astype(np.float32)
    rate = np.gradient(angle).astype(np.float32) * np.float32(SPEC.fps)
    proprio = np.stack([angle, rate, episode.proprio[:, 0] / 100], axis=1)
    return dataclasses.replace(episode, proprio=proprio)


def checked(
    path: Path, change: Change, spec: DatasetSpec = NAMED, only: int | None = 2, length: int = 60
) -> Report:
    """Write five episodes, one of them changed (all with ``only=None``), and check them."""
    with DatasetWriter(path, spec) as writer:
        for seed in range(5):
            episode = moving(seed, length)
            writer.add(change(episode) if only in (None, seed) else episode)
    return check_dataset(path, min_frames=6)


def images(episode: Episode, edit: Callable[[np.ndarray], object]) -> Episode:
    frames = episode.images["scene"].copy()
    edit(frames)
    return dataclasses.replace(episode, images={"scene": frames})


def proprio(episode: Episode, edit: Callable[[np.ndarray], object]) -> Episode:
    values = episode.proprio.copy()
    edit(values)
    return dataclasses.replace(episode, proprio=values)


def actions(episode: Episode, edit: Callable[[np.ndarray], object]) -> Episode:
    values = episode.actions.copy()
    edit(values)
    return dataclasses.replace(episode, actions=values)


def stamps(episode: Episode, edit: Callable[[np.ndarray], object]) -> Episode:
    values = episode.stamps_ns.copy()
    edit(values)
    return dataclasses.replace(episode, stamps_ns=values)


def hold(frames: np.ndarray) -> None:
    frames[20:35] = frames[20]


def later(values: np.ndarray) -> None:
    values[31:] += 700_000_000


def scale(factor: float) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values *= factor

    return edit


# What is done to an episode; the kind, first frame and text of the one warning it must cause.
DEFECTS: dict[str, tuple[Change, str, int | None, str]] = {
    "gap": (lambda e: stamps(e, later), "gap", 31, "1 gap, the longest 0.80 s, 7 frames lost"),
    "black": (lambda e: images(e, lambda x: x[12:15].fill(0)), "black", 12, "3 black frames"),
    "blank": (lambda e: images(e, lambda x: x[40:44].fill(128)), "blank", 40, "4 blank frames"),
    "frozen": (lambda e: images(e, hold), "frozen", 21, "14 frames do not change while"),
    "jump": (
        lambda e: proprio(e, lambda x: x[30:, 2].__iadd__(0.9)),
        "jump",
        30,
        "tool.x jumps by ",
    ),
    "wrapped angle": (
        lambda e: proprio(e, lambda x: x[30:, 0].__iadd__(2 * np.pi)),
        "jump",
        30,
        "joint.position jumps by 6.",
    ),
    "saturated": (
        lambda e: actions(e, lambda x: x[:, 0].fill(20.0)),
        "saturated",
        None,
        "action vx is at its limit in more than half of the frames",
    ),
    "no commands": (
        lambda e: actions(e, lambda x: x.fill(0.0)),
        "constant",
        None,
        "no action changes while the robot moves",
    ),
    "beyond the limits": (
        lambda e: actions(e, scale(180 / np.pi)),
        "limits",
        None,
        "times its limit (degrees for radians?)",
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_one_episode_is_found_at_its_place(tmp_path: Path, name: str) -> None:
    change, kind, frame, said = DEFECTS[name]
    report = checked(tmp_path / "set", change)
    assert report.errors == 0
    found = [f for f in report.findings if f.kind == kind]
    assert found, report.findings
    assert all(f.episodes == (2,) for f in found)
    assert any(said in f.message for f in found), found
    if frame is not None:
        assert found[0].frame == frame
    assert {f.kind for f in report.findings} <= {kind, "limits", "saturated"}
    assert all(f.file in (DATA, VIDEO) for f in report.findings)


def test_a_good_recording_passes(tmp_path: Path) -> None:
    report = checked(tmp_path / "set", lambda episode: episode)
    assert report.findings == ()
    assert (report.episodes, report.frames, report.intact) == (5, 300, 5)
    assert abs(report.lags["scene"].frames) < 0.5


@pytest.mark.parametrize(
    ("change", "spec", "kind", "said"),
    [
        (
            lambda e: proprio(e, lambda x: x[:, :2].__imul__(180 / np.pi)),
            NAMED,
            "units",
            "which is no rad: degrees?",
        ),
        (
            lambda e: proprio(e, lambda x: x[:, 1].__imul__(180 / np.pi)),
            NAMED,
            "units",
            "times the change of joint.position per second (degrees for radians?)",
        ),
        (
            lambda e: proprio(e, lambda x: x[:, 2].__imul__(1000)),
            NAMED,
            "units",
            "tool.x reaches 2",
        ),
        (lambda e: e, dataclasses.replace(NAMED, fps=15.0), "rate", "frames are 100.0 ms apart"),
        (lambda e: actions(e, lambda x: x[:, 1].fill(3.0)), NAMED, "constant", "vy never changes"),
    ],
)
def test_a_defect_of_the_whole_set_is_one_line(
    tmp_path: Path, change: Change, spec: DatasetSpec, kind: str, said: str
) -> None:
    report = checked(tmp_path / "set", change, spec, only=None)
    found = [f for f in report.findings if f.kind == kind]
    assert len(found) == 1, report.findings
    assert found[0].episodes == (0, 1, 2, 3, 4)
    assert said in found[0].message
    assert ", episodes 0-4: " in found[0].line()


def test_episodes_too_short_are_told(tmp_path: Path) -> None:
    report = checked(tmp_path / "set", lambda e: e, length=5)
    short = [f for f in report.findings if f.kind == "short"]
    assert len(short) == 1
    assert short[0].episodes == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("lag", [-2, 1, 3])
def test_a_lag_is_estimated_and_undone(tmp_path: Path, lag: int) -> None:
    """Actions logged k frames before their motion is seen; -2: after it."""

    def early(episode: Episode) -> Episode:
        return dataclasses.replace(episode, actions=np.roll(episode.actions, -lag, axis=0))

    report = checked(tmp_path / "set", early, only=None)
    (found,) = [f for f in report.findings if f.kind == "lag"]
    assert f"{abs(report.lags['scene'].frames):.1f} frames" in found.message
    assert ("after" if lag > 0 else "before") in found.message
    assert abs(report.lags["scene"].frames - lag) < 0.3
    written = shift_actions(tmp_path / "set", tmp_path / "fixed", lag, progress=False)
    assert (written.episodes, written.frames) == (5, 5 * (60 - abs(lag)))
    fixed = check_dataset(tmp_path / "fixed", 6)
    assert abs(fixed.lags["scene"].frames) < 0.3
    assert not [f for f in fixed.findings if f.kind == "lag"]
    # Not only the estimate: the numbers are those of the recording before it was spoilt.
    seen, true = open_dataset(tmp_path / "fixed").episode(1), moving(1)
    part = slice(max(lag, 0), 60 + min(lag, 0))
    np.testing.assert_array_equal(seen.actions, true.actions[part])
    np.testing.assert_array_equal(seen.proprio, true.proprio[part])
    np.testing.assert_array_equal(seen.stamps_ns, true.stamps_ns[part])


def test_what_is_damaged_is_an_error_and_the_rest_is_checked(tmp_path: Path) -> None:
    checked(tmp_path / "set", lambda e: images(e, lambda x: x[12:15].fill(0)))
    forget_hashes(tmp_path / "set")
    rewrite(tmp_path / "set" / DATA, put("action", 65, 1, np.nan))
    report = check_dataset(tmp_path / "set", 6)
    assert [f.level for f in report.findings] == ["error", "warning"]
    assert report.findings[0].line().startswith(f"ERROR   {DATA}, episode 1, frame 5: action are")
    assert report.findings[1].kind == "black"
    assert report.intact == 4


def test_an_unreadable_info_is_an_error_and_no_set_is_refused(tmp_path: Path) -> None:
    checked(tmp_path / "set", lambda e: e)
    cut(tmp_path / "set/meta/info.json", 0.5)
    report = check_dataset(tmp_path / "set", 6)
    assert report.errors == 1
    assert report.findings[0].line().startswith("ERROR   meta/info.json: cannot be read")
    with pytest.raises(DatasetError, match="no such data set folder"):
        check_dataset(tmp_path / "nothing", 6)


def test_lines_name_ranges() -> None:
    assert ranges([3, 0, 1, 2, 7]) == "0-3, 7"
    line = Finding("warning", "gap", "f", (4,), 9, "a gap", "mend it").line()
    assert line == "WARNING f, episode 4, frame 9: a gap; mend it"
