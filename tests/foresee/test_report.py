"""`foresee report`: every part is there, its numbers are those of the functions."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made import Made

from foresee.cli import main
from foresee.report_command import Report
from foresee.report_page import energies
from foresee.report_page.maps import energy_map
from foresee.report_page.material import Data, Material, see_data
from foresee.report_page.neighbours import nearest
from foresee.report_page.training import smooth
from world_model.bundle import MANIFEST, open_bundle
from world_model.data.cache import build_cache
from world_model.energy import energy, quantiles_from
from world_model.held_out import calibrate_on, split_of
from world_model.readout import encode_all
from world_model.runtime import Start, load_world_model

PARTS = [
    "bundle",
    "success",
    "training",
    "probes",
    "rollouts",
    "energy",
    "neighbours",
    "maps",
    "imagination",
]
SMALL = ["--frames", "160", "--probe-steps", "20", "--decoder-steps", "3"]


class _Page(HTMLParser):
    """What a page has in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        if tag == "section":
            self.sections.append(str(given["id"]))
        self.sources += [str(given[a]) for a in ("src", "srcset", "href") if a in given]

    def handle_data(self, data: str) -> None:
        self.words += data


def _report(made: Made, out: Path, *options: str) -> tuple[_Page, dict]:
    summary = out.with_suffix(".json")
    arguments = ["report", str(made.bundle), "--out", str(out), "--json", str(summary)]
    assert main([*arguments, *SMALL, *options]) == 0
    return _Page(out), json.loads(summary.read_text())


@pytest.fixture(scope="module")
def evaluation(push: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A summary as `foresee eval --json` writes it, without the time it takes."""
    rate = {"success_rate": 0.25, "ci95": [0.046, 0.699], "n": 4}
    row = rate | {"final_distance_m": {"median": 0.123, "p95": 0.2}}
    row["also"] = {"success_25mm": {"success_rate": 0.0, "ci95": [0.0, 0.49]}}
    file = tmp_path_factory.mktemp("eval") / "eval.json"
    values = row | {"env": push.env, "seed": 7, "floors": {"zero": row}, "manifest_sha256": "x"}
    file.write_text(json.dumps(values))
    return file


@pytest.fixture(scope="module")
def whole(
    push: Made, evaluation: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[_Page, dict]:
    """The page with every input given."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    given = ["--data", str(push.data), "--run", str(push.run), "--eval", str(evaluation)]
    return _report(push, out, *given)


@pytest.fixture(scope="module")
def data(push: Made) -> Data:
    """What the page is made from."""
    bundle, cache = open_bundle(push.bundle), build_cache(push.data, progress=False)
    model = load_world_model(push.bundle)
    return see_data(bundle, model, cache, push.data, 160, 0, progress=False)


def test_the_page_has_every_part_and_needs_nothing_beside_itself(
    whole: tuple[_Page, dict],
) -> None:
    page, summary = whole
    assert page.sections == PARTS
    assert summary["left_out"] == []
    assert page.sources
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in page.sources)
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.search(r"https?://|@import|url\(", page.text)
    assert "{{" not in page.text
    assert page.text.count("prefers-color-scheme: dark") > 10  # the page, and every plot of it
    assert 'name="viewport"' in page.text
    assert "@media print" in page.text


def test_the_numbers_are_those_of_the_functions(whole: tuple[_Page, dict], data: Data) -> None:
    page, summary = whole
    figures = summary["figures"]
    imagined = data.imagined
    np.testing.assert_allclose(figures["rollouts"]["rollout_mse"], imagined.energies.mean(0))
    np.testing.assert_allclose(figures["rollouts"]["copy_mse"], imagined.copy.mean(0))
    assert f"{figures['rollouts']['rollout_ratio']:.3f} of the floor" in page.words
    # The probe of tool.x, by hand.
    fit, held = data.fit, data.held
    x, y = fit.latents.reshape(len(fit.frames), -1).astype(float), data.values_of(fit)
    column = data.names.index("tool.x")
    truth = data.values_of(held)[:, column].astype(float)
    target = y[:, column].astype(float)
    gram = (x - x.mean(0)).T @ (x - x.mean(0))
    gram += np.eye(len(gram)) * (1e-3 * np.trace(gram) / len(gram) + 1e-9)
    weights = np.linalg.solve(gram, (x - x.mean(0)).T @ (target - target.mean()))
    latents = held.latents.reshape(len(held.frames), -1) - x.mean(0)
    error = latents @ weights + target.mean() - truth
    r2 = 1 - np.square(error).sum() / np.square(truth - truth.mean()).sum()
    told = figures["probes"]["probes"]["tool.x"]["linear"]
    assert told["r2"] == pytest.approx(r2, abs=1e-6)
    assert told["median"] == pytest.approx(np.median(np.abs(error)), abs=1e-6)
    assert f"{r2:.3f}" in page.words
    assert f"{np.median(np.abs(error)):.4f} m" in page.words
    # Success as the file has it.
    assert "25.0%" in page.words
    assert "4.6% – 69.9%" in page.words
    assert "12.3 cm" in page.words


def test_the_first_rollout_step_is_the_models_own_prediction(data: Data) -> None:
    imagined, held, context = data.imagined, data.held, data.model.spec.context
    rows = imagined.starts[3] + np.arange(context)
    proprio = np.asarray(held.cache.proprio)[held.frames[rows]]
    state = Start(held.latents[rows], proprio, held.actions(rows[:-1]))
    course = held.actions(imagined.now[3] + np.arange(data.horizon))
    rollout = data.model.rollout(state, course[None]).latents[0]
    np.testing.assert_allclose(imagined.latents[3], rollout, atol=1e-4)
    seen = np.stack([data.model.encode(held.images(int(row))) for row in imagined.after[3]])
    np.testing.assert_allclose(imagined.energies[3], energy(seen, rollout), atol=1e-4)
    assert (held.episodes[imagined.after] == imagined.episodes[:, None]).all()


def test_contact_is_where_the_block_moved(data: Data) -> None:
    assert data.objects == ["block"]
    assert set(data.groups) == {"tool", "block"}
    touched, moved = data.touched(), data.moved("block")
    assert not (touched["contact"] & touched["free"]).any()
    assert (moved[touched["free"]] < 0.002).all()
    assert (moved[:, 0][touched["contact"][:, 0]] > 0.008).all()


def test_neighbours_are_of_other_episodes_and_nearest_first(data: Data) -> None:
    strip = nearest(data, 5)
    episodes = data.fit.episodes[strip["nearest"]]
    assert len(set(episodes)) == len(episodes)
    assert not set(episodes) & set(data.held.episodes)
    assert strip["energies"] == sorted(strip["energies"])
    distance = energy(data.fit.latents, data.held.latents[5])
    assert strip["energies"][0] == pytest.approx(distance.min())


def test_a_map_is_the_energy_of_each_constant_action(data: Data) -> None:
    held, context = data.held, data.model.spec.context
    rows = np.arange(context)
    proprio = np.asarray(held.cache.proprio)[held.frames[rows]]
    start = Start(held.latents[rows], proprio, held.actions(rows[:-1]))
    goal = held.latents[20]
    course = np.zeros((5, 2), np.float32)
    found = energy_map(data.model, start, goal, course, np.array([0.1, 0.0]))
    action = np.array([found.x[2], found.y[11]], np.float32)
    last = data.model.rollout(start, np.repeat(action[None, None], 5, 1)).latents[0, -1]
    assert found.values[11, 2] == pytest.approx(float(energy(goal, last)), rel=1e-4)
    row, column = np.argwhere(found.values == found.values.min())[0]
    np.testing.assert_array_equal(found.best, [found.x[column], found.y[row]])
    assert 0 <= found.off_rad <= np.pi


def test_without_inputs_every_part_says_how_to_get_it(reach: Made, tmp_path: Path) -> None:
    page, summary = _report(reach, tmp_path / "bare.html")
    assert page.sections == PARTS
    assert summary["left_out"] == PARTS[1:]
    for option in ("--data", "--run", "--eval", "--episodes"):
        assert option in page.words
    assert "tool.vx" in page.words


def test_a_bundle_carries_the_quantiles_of_its_held_out_episodes(reach: Made) -> None:
    bundle, cache = open_bundle(reach.bundle), build_cache(reach.data, progress=False)
    model = load_world_model(reach.bundle)
    assert bundle.manifest["training"]["held_out"] == 0.1
    _, held_out = split_of(bundle, cache)
    assert len(held_out) == 1
    assert model.energies == bundle.energies == calibrate_on(model, cache, held_out)
    assert model.energies.steps == 8


def test_an_old_bundle_loads_and_can_be_given_its_quantiles(reach: Made, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(reach.bundle, old)
    manifest = json.loads((old / MANIFEST).read_text())
    had = manifest.pop("energy")
    (old / MANIFEST).write_text(json.dumps(manifest))
    assert load_world_model(old).energies is None
    bundle, cache = open_bundle(old), build_cache(reach.data, progress=False)
    bare = Material(bundle, load_world_model(old), None, None, None, 1, 1, 0, False)
    data = see_data(bundle, bare.model, cache, reach.data, 160, 0, progress=False)
    told = energies.section(dataclasses.replace(bare, data=data))
    assert told.figures["stored"] is False
    assert "carries no quantiles" in told.body
    stored = Report(old, data=reach.data)._store_energies(bundle, cache)
    assert json.loads((old / MANIFEST).read_text())["energy"] == had
    assert stored.energies == quantiles_from({"energy": had})


def test_a_damaged_quantile_is_refused(reach: Made, tmp_path: Path, capsys) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(reach.bundle, bad)
    manifest = json.loads((bad / MANIFEST).read_text())
    manifest["energy"]["quantiles"][0][0] = 1e9
    (bad / MANIFEST).write_text(json.dumps(manifest))
    assert main(["report", str(bad), "--out", str(tmp_path / "r.html")]) == 2
    assert "energy levels and quantiles must ascend" in capsys.readouterr().err


def test_what_is_wrong_is_told_in_one_line(
    reach: Made, push: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "r.html")]
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "other.json").write_text("{}")
    for options, said in (
        (["--data", str(push.data)], "the same robot and cameras"),
        (["--run", str(tmp_path)], "no losses.jsonl"),
        (["--eval", str(tmp_path / "no.json")], "not JSON"),
        (["--eval", str(tmp_path / "list.json")], "not a summary"),
        (["--eval", str(tmp_path / "other.json")], "not a summary"),
        (["--eval", str(tmp_path / "none.json")], "No such file"),
        (["--eval", "x", "--episodes", "3"], "give one of them"),
        (["--env", "foresee/Reach-v0"], "give --episodes"),
        (["--store-energies"], "give --data"),
        (["--frames", "0"], "at least 1"),
        (["--out", str(tmp_path)], "is a folder"),
    ):
        assert main(["report", str(reach.bundle), *out, *options]) == 2, options
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1, error
    assert not (tmp_path / "r.html").exists()


def test_goals_can_be_run_at_once(rooms: Made, tmp_path: Path) -> None:
    page, summary = _report(rooms, tmp_path / "r.html", "--episodes", "1")
    success = summary["figures"]["success"]
    assert success["agent"]["n"] == 1
    assert set(success) == {"agent", "zero", "random", "straight", "scripted"}
    assert "hashes of the manifests differ" not in page.words


def test_smoothing_is_the_mean_of_the_last_values() -> None:
    values = np.array([1.0, 3.0, 5.0, 9.0])
    np.testing.assert_allclose(smooth(values, 2), [1.0, 2.0, 4.0, 7.0])
    np.testing.assert_allclose(smooth(values, 1), values)


def test_targets_of_the_probes_are_those_of_the_frames(data: Data) -> None:
    values = data.values_of(data.held)
    frame = int(data.held.frames[7])
    wanted = [q for q in data.wanted if q.name == "tool.y"]
    expected = np.asarray(data.held.cache.proprio)[frame][data.names.index("tool.y")]
    assert encode_all(wanted, values)[7, 0] == pytest.approx(expected)
