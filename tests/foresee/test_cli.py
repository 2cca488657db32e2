"""What a user gets wrong is told in one line, exit status 2, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from made import Made

from foresee.cli import main
from foresee.commands import COMMANDS, GROUPS, shipped_bundle
from foresee.summary import write_json
from world_model.data.dataset import open_dataset


def _foresee(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foresee.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


DESCRIBED = {name: kind.__doc__ for name, kind in COMMANDS.items()}
DESCRIBED |= {f"{g} {n}": k.__doc__ for g, kinds in GROUPS.items() for n, k in kinds.items()}


@pytest.mark.parametrize("command", ["", *DESCRIBED])
def test_help_says_what_it_does(command: str) -> None:
    result = _foresee(*command.split(), "--help")
    assert result.returncode == 0
    described = DESCRIBED[command] if command else "Learn a world model"
    assert described is not None
    assert described.split(".")[0][:40] in result.stdout
    assert "--help" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["eval", "--episods", "3"], "--episodes"),
        (["collect", "--out", "x", "--frames", "many"], "--frames"),
        (["evall"], "eval"),
        (["train"], "--out"),
        (["train", "--out", "x"], "--data"),
        (["run", "--provider", "gpu"], "cuda"),
    ],
)
def test_a_misspelt_option_is_told_with_a_hint(arguments: list[str], hint: str) -> None:
    result = _foresee(*arguments)
    assert result.returncode == 2
    assert hint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian"], "Unrecognized options: trian. Did you mean train?"),
        (["eval", "--epsiodes", "3"], "Did you mean --episodes?"),
        (["data"], "foresee data --help"),
        (["data", "exprot"], "Did you mean export?"),
        (["data", "export", "x", "--out", "y", "--camera", "z"], "Did you mean --cameras?"),
        (["data", "export", "x", "--out", "y", "--episodes", "3-1"], "write them like 0-9,12"),
        (["data", "import", "x", "--out", "y"], "x: no such file or folder"),
        (["data", "import", "x", "--out", "y", "--confg", "z"], "Did you mean --config?"),
        (["data", "import", ".", "--out", "y", "--config", "z.yaml"], "z.yaml: cannot be read"),
        (
            ["data", "import", "x", "--out", "y", "--config", "z", "--size", "64", "64"],
            "--size is for imports without --config",
        ),
        (["data", "import", "x", "--out", "y", "--size", "50", "50"], "give multiples of 16"),
        (["data", "import", "x", "--out", "y", "--size", "0", "64"], "give multiples of 16"),
        (["data", "check", "x", "--min-frames", "-1"], "--min-frames must be at least 1, got -1"),
        (["data", "record", "--out", "y", "--minutes", "nan"], "a number above 0, got nan"),
        (["data", "record", "--out", "y", "--minutes", "inf"], "a number above 0, got inf"),
        (["train", "--dat", "x", "--out", "y"], "Did you mean --data?"),
        (["train", "--data", "x", "--out", "y", "--steps", "0"], "steps must be at least 1, got 0"),
        (["train", "--data", "x", "--out", "y", "--encoder.width", "3"], "multiple of 8, got 3"),
        (["run", "--goals", "three"], "--goals: invalid literal"),
        (["run", "--out", "x"], "--out is for --ros"),
        (["demo", "--scratch", "--env", "foresee/TwoRooms-v0"], "not a tool velocity"),
        (["eval", "--variant", "int3"], "has no variant 'int3' (it has fp32, int8)"),
        (["demo", "--scratch", "--bundle", "x"], "leave --bundle away"),
        (["collect", "--out", "x", "--image-size", "50"], "multiple of 16"),
    ],
)
def test_wrong_options_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert told in _refused(capsys, *arguments)


def test_a_reader_that_has_seen_enough_is_no_error(reach: Made) -> None:
    result = subprocess.run(
        f"{sys.executable} -m foresee.cli info {reach.data} | head -c 0",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    told = [line for line in lines if line.startswith("foresee: ")]
    assert len(told) == 1, lines
    return told[0]


def test_names_that_do_not_exist(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nothing = str(tmp_path / "nothing")
    line = _refused(capsys, "collect", "--env", "foresee/Reech-v0", "--out", nothing)
    assert "no environment 'foresee/Reech-v0'. Did you mean foresee/Reach-v0?" in line
    assert not Path(nothing).exists()
    assert "no such bundle folder" in _refused(capsys, "eval", "--bundle", nothing)
    assert "nothing" in _refused(capsys, "train", "--data", nothing, "--out", nothing)
    assert "no such folder" in _refused(capsys, "info", nothing)
    assert "neither a bundle" in _refused(capsys, "info", str(tmp_path))
    assert "no bundle is shipped" in _refused(capsys, "eval", "--env", "foresee/Nowhere-v0")


def test_damaged_bundles(capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(reach.bundle, tmp_path / name))

    truncated = copy("truncated")
    data = (truncated / "encoder.onnx").read_bytes()
    (truncated / "encoder.onnx").write_bytes(data[: len(data) // 2])
    assert "encoder.onnx: its hash differs" in _refused(capsys, "run", "--bundle", str(truncated))

    old = copy("old")
    manifest = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps(manifest | {"format_version": 0}))
    assert "format version 0" in _refused(capsys, "eval", "--bundle", str(old))
    assert "format version 0" in _refused(capsys, "info", str(old))
    assert "format version 0" in _refused(capsys, "run", "--ros", "--bundle", str(old))

    missing = copy("missing")
    (missing / "predictor.onnx").unlink()
    assert "predictor.onnx: missing" in _refused(capsys, "demo", "--bundle", str(missing))


def test_damaged_data_sets(capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path) -> None:
    def spoiled(name: str, pattern: str, keep: float | None) -> Path:
        path = Path(
            shutil.copytree(reach.data, tmp_path / name, ignore=shutil.ignore_patterns(".cache*"))
        )
        file = next(path.glob(pattern))
        if keep is None:
            file.unlink()
        else:
            data = file.read_bytes()
            file.write_bytes(data[: int(len(data) * keep)])
        return path

    out = tmp_path / "run"
    for name, pattern, keep in (
        ("video", "videos/**/*.mp4", 0.5),
        ("no-table", "data/**/*.parquet", None),
        ("table", "data/**/*.parquet", 0.5),
    ):
        path = spoiled(name, pattern, keep)
        suffix = pattern.rsplit("*", 1)[-1]
        assert suffix in _refused(capsys, "train", "--data", str(path), "--out", str(out))
        assert suffix in _refused(capsys, "info", str(path))
    assert not (out / "checkpoint.pt").exists()


def test_variants_need_a_simulated_world(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    real = Path(shutil.copytree(reach.data, tmp_path / "real"))
    info = json.loads((real / "meta" / "info.json").read_text())
    info["foresee"]["spec"]["env_id"] = None
    (real / "meta" / "info.json").write_text(json.dumps(info))
    words = ["export", "--checkpoint", str(reach.run), "--out", str(tmp_path / "bundle")]
    assert "these name none" in _refused(capsys, *words, "--data", str(real), "--variants")
    agent = str(shipped_bundle("foresee/Push-v0") / "agent.yaml")
    words += ["--data", str(reach.data), "--variants", "--agent", agent]
    assert "asks for a critic" in _refused(capsys, *words)
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_that_does_not_fit_the_world(
    capsys: pytest.CaptureFixture[str], reach: Made
) -> None:
    line = _refused(capsys, "run", "--bundle", str(reach.bundle), "--image-size", "96")
    assert "trained on cameras scene 64x64, foresee/Reach-v0 gives scene 96x96" in line
    line = _refused(capsys, "eval", "--env", "foresee/Push-v0", "--bundle", str(reach.bundle))
    assert "the bundle has 3 actions" in line
    assert "foresee/Push-v0 has 2" in line


def test_settings_that_are_wrong(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    agent = tmp_path / "agent.yaml"
    agent.write_text("planner: {sampels: 10}\n")
    line = _refused(capsys, "run", "--bundle", str(reach.bundle), "--agent", str(agent))
    assert "sampels" in line
    assert "samples" in line
    assert "exists already" in _refused(
        capsys,
        *("export", "--checkpoint", str(reach.run), "--data", str(reach.data)),
        *("--out", str(reach.bundle)),
    )
    assert "not empty" in _refused(capsys, "collect", "--out", str(reach.data))
    line = _refused(capsys, "train", "--data", str(reach.data), "--out", str(reach.data))
    assert line.endswith(": a data set; choose another --out for the run")


def test_values_out_of_their_range(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    collect = ("collect", "--out", str(out))
    for options, told in (
        (("--image-size", "8"), "give 16 to 1024 pixels"),
        (("--seed", "-1"), "--seed must be at least 0"),
        (("--workers", "-1"), "--workers must be 0"),
        (("--frames", "0"), "at least 1 frame"),
        (("--randomization", str(tmp_path / "none.yaml")), "none.yaml: No such file"),
    ):
        assert told in _refused(capsys, *collect, *options)
        assert not out.exists()
    varied = tmp_path / "varied.yaml"
    varied.write_text("colour: 0.1\n")
    assert "colour" in _refused(capsys, *collect, "--randomization", str(varied))
    bundle = ("--bundle", str(reach.bundle))
    assert "--seed must be" in _refused(capsys, "run", *bundle, "--seed", "-1")
    assert "--seed must be" in _refused(capsys, "eval", *bundle, "--seed", "-1")


def test_a_summary_that_cannot_be_written_is_told_before_the_work(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    collect = ("collect", "--out", str(tmp_path / "data"))
    assert "Is a directory" in _refused(capsys, *collect, "--json", str(tmp_path))
    assert not (tmp_path / "data").exists()
    failed = tmp_path / "summary.json"
    _refused(capsys, "info", str(tmp_path / "nothing"), "--json", str(failed))
    assert not failed.exists()


def test_the_summary_is_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    values = {"a": float("nan"), "b": np.float32(0.5), "c": (np.int64(2), Path("x")), "d": True}
    write_json(path, values)
    assert json.loads(path.read_text()) == {"a": None, "b": 0.5, "c": [2, "x"], "d": True}


def test_info_of_a_bundle_and_of_a_data_set(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    assert main(["info", str(reach.bundle), "--json", str(tmp_path / "b.json")]) == 0
    assert json.loads((tmp_path / "b.json").read_text())["kind"] == "bundle"
    assert main(["info", str(reach.data)]) == 0
    text = capsys.readouterr().out
    assert "tool.vx [-0.25, 0.25]" in text
    assert "LeRobotDataset v3" in text


def test_ctrl_c_during_collection_leaves_a_data_set(tmp_path: Path) -> None:
    out = tmp_path / "data"
    command = [sys.executable, "-m", "foresee.cli", "collect", "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--frames", "100000", "--episode-frames", "20", "--workers", "1"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    seen, deadline = b"", time.monotonic() + 90
    while b"60/" not in seen:  # three episodes are in
        assert time.monotonic() < deadline
        seen = seen[-200:] + process.stderr.read1(200)  # type: ignore[attr-defined]
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    process.communicate(timeout=240)
    assert process.returncode == 130
    dataset = open_dataset(out)
    assert len(dataset) >= 3
    assert dataset.frames == 20 * len(dataset)
    assert len(dataset.episode(0).proprio) == 20


def test_data_check_and_show(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    data = Path(
        shutil.copytree(reach.data, tmp_path / "data", ignore=shutil.ignore_patterns(".cache*"))
    )
    assert main(["data", "check", str(data), "--json", str(tmp_path / "a.json")]) == 0
    assert "0 errors" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["intact"] == 6
    video = next(data.glob("videos/**/*.mp4"))
    content = bytearray(video.read_bytes())
    content[len(content) // 2] ^= 0xFF
    video.write_bytes(content)
    assert main(["data", "check", str(data), "--json", str(tmp_path / "b.json")]) == 1
    out = capsys.readouterr().out
    assert "ERROR   videos/observation.images.scene/chunk-000/file-000.mp4, episode " in out
    assert "1 errors" in out
    summary = json.loads((tmp_path / "b.json").read_text())
    assert summary["intact"] == 5
    assert summary["findings"][0]["kind"] == "damaged"

    out = tmp_path / "shown"
    page, mcap = out / "page.html", out / "data.mcap"
    show = ["data", "show", str(data), "--out", str(out), "--html", str(page), "--mcap", str(mcap)]
    assert main([*show, "--episodes", "0-1"]) == 0
    assert "1 damaged episodes are not shown" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {
        "contact.png",
        "plots.png",
        "page.html",
        "data.mcap",
    }
    fixed = tmp_path / "fixed"
    line = _refused(capsys, "data", "check", str(reach.data), "--fix-lag", str(fixed))
    assert "there is no lag to fix" in line
    fix = ["data", "check", str(reach.data), "--fix-lag", str(fixed), "--lag", "2"]
    assert main(fix) == 0
    assert open_dataset(fixed).frames == 6 * 38


def test_training_leaves_damaged_episodes_out_when_asked(
    capsys: pytest.CaptureFixture[str], reach: Made, tmp_path: Path
) -> None:
    data = Path(
        shutil.copytree(reach.data, tmp_path / "data", ignore=shutil.ignore_patterns(".cache*"))
    )
    table = next(data.glob("data/**/*.parquet"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0xFF
    table.write_bytes(content)
    train = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--steps", "2"]
    train += ["--encoder.width", "8", "--predictor.hidden", "32", "--batch", "4", "--threads", "1"]
    train += ["--json", str(tmp_path / "train.json")]
    _refused(capsys, *train)
    assert main([*train, "--skip-bad"]) == 0
    out = capsys.readouterr().out
    assert "left out 1 of 6 episodes (40 of 240 frames)" in out
    assert json.loads((tmp_path / "train.json").read_text())["left_out"] == 1
