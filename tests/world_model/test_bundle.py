"""A bundle is what its manifest says, or it is not opened; ONNX computes what torch does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from dots import SIZE, SMALL, moving_dot

from controller.types import ModelState
from world_model.bundle import (
    BundleError,
    ModelSpec,
    add_network,
    open_bundle,
    sha256,
    write_manifest,
)
from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.export import (
    PARITY_TOLERANCE,
    ExportError,
    _write_networks,
    export,
)
from world_model.jepa import Jepa, Normalization
from world_model.rollout_graph import rollout_graph
from world_model.runtime import (
    OnnxWorldModel,
    ProviderError,
    Start,
    choose_providers,
    load_world_model,
)


def test_manifest_says_what_the_data_set_and_the_model_are(exported: Path) -> None:
    bundle = open_bundle(exported)
    spec = bundle.spec
    assert spec.cameras == {"scene": (SIZE, SIZE)}
    assert spec.proprio_names == ("tool.x",)
    assert spec.action_names == ("tool.vx", "tool.vy")
    assert spec.action_low.tolist() == [-1.0, -1.0]
    assert spec.model_dt_s == pytest.approx(0.1)
    assert (spec.context, spec.latent_shape) == (2, (1, 16))
    units = [entry["unit"] for entry in bundle.manifest["action"]]
    assert units == ["m/s", "m/s"]
    assert max(bundle.manifest["parity"]["max_abs_error"].values()) <= PARITY_TOLERANCE
    assert bundle.manifest["training"]["step"] == SMALL.steps


def test_networks_use_opset_17_or_newer_and_take_any_batch(exported: Path) -> None:
    for name in ("encoder.onnx", "predictor.onnx"):
        graph = onnx.load(exported / name)
        assert graph.opset_import[0].version >= 17
        assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        assert b".py" not in (exported / name).read_bytes()  # no source path of this machine


def test_runtime_imagines_what_torch_imagines(exported: Path, trained: Path) -> None:
    runtime = load_world_model(exported, provider="cpu")
    model = model_from_checkpoint(load_checkpoint(trained))
    episode = moving_dot(99)
    frames = episode.images["scene"][:2]
    latents = np.stack([runtime.encode({"scene": frame}) for frame in frames])
    expected = model.encode({"scene": torch.from_numpy(frames)}).detach().numpy()
    np.testing.assert_allclose(latents, expected, atol=PARITY_TOLERANCE)

    state = ModelState(latents, episode.proprio[:2], episode.actions[:1], stamp_ns=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (7, 5, 2)).astype(np.float32)
    rollouts = runtime.rollout(state, actions)
    assert rollouts.latents.shape == (7, 5, 1, 16)
    assert rollouts.proprio.shape == (7, 5, 1)
    past = np.broadcast_to(episode.actions[:1], (7, 1, 2))
    with torch.no_grad():
        imagined, readings = model.rollout(
            torch.from_numpy(latents).expand(7, -1, -1, -1),
            model.standardize_proprio(torch.from_numpy(episode.proprio[:2]).expand(7, -1, -1)),
            model.standardize_actions(torch.from_numpy(np.concatenate([past, actions], 1))),
        )
        proprio = readings * model.proprio_std + model.proprio_mean
    np.testing.assert_allclose(rollouts.latents, imagined.numpy(), atol=1e-3)
    np.testing.assert_allclose(rollouts.proprio, proprio.numpy(), atol=1e-3)


def test_a_fused_rollout_is_the_stepwise_one(exported: Path) -> None:
    runtime = load_world_model(exported)
    assert runtime.fused
    rng = np.random.default_rng(1)
    for batch, horizon in ((1, 1), (3, 2), (64, 12), (300, 5)):
        state = Start(
            rng.normal(size=(2, 1, 16)).astype(np.float32),
            rng.normal(size=(2, 1)).astype(np.float32),
            rng.uniform(-1, 1, (1, 2)).astype(np.float32),
        )
        actions = rng.uniform(-1, 1, (batch, horizon, 2)).astype(np.float32)
        fused, stepwise = runtime.rollout(state, actions), runtime.rollout_stepwise(state, actions)
        for one, other in zip(fused[:2], stepwise[:2], strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, atol=PARITY_TOLERANCE)


@pytest.mark.parametrize("context", [1, 3])
def test_a_fused_rollout_knows_contexts_tokens_and_blocks(context: int) -> None:
    cameras = {"left": (32, 32), "wrist": (32, 48)}
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=2), rng.uniform(0.01, 2.0, 2)
    predictor = replace(SMALL.predictor, context=context, blocks=2)
    torch.manual_seed(0)
    model = Jepa(
        replace(SMALL, predictor=predictor), cameras, Normalization(mean, std, mean, std)
    ).eval()
    for parameter in model.predictor.parameters():  # a fresh predictor's last layer is all zero
        torch.nn.init.normal_(parameter, std=0.2)
    latents, proprio, past, actions = (
        rng.normal(size=shape).astype(np.float32)
        for shape in ((context, 2, 16), (context, 2), (context - 1, 2), (5, 4, 2))
    )
    session = onnxruntime.InferenceSession(rollout_graph(model).SerializeToString())
    feed = {"latents": latents, "proprio": proprio, "past_actions": past, "actions": actions}
    imagined, readings = session.run(None, feed)
    with torch.no_grad():
        expected, expected_readings = model.rollout(
            torch.from_numpy(latents).expand(5, -1, -1, -1),
            model.standardize_proprio(torch.from_numpy(proprio)).expand(5, -1, -1),
            model.standardize_actions(
                torch.from_numpy(
                    np.concatenate([np.broadcast_to(past, (5, *past.shape)), actions], 1)
                )
            ),
        )
        expected_readings = expected_readings * model.proprio_std + model.proprio_mean
    np.testing.assert_allclose(imagined, expected.numpy(), rtol=1e-4, atol=PARITY_TOLERANCE)
    np.testing.assert_allclose(
        readings, expected_readings.numpy(), rtol=1e-4, atol=PARITY_TOLERANCE
    )


def test_a_bundle_from_before_the_fused_rollout_still_runs(exported: Path, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(exported, path)
    (path / "rollout.onnx").unlink()
    _edit(path, lambda m: m.pop("networks"))
    old, new = load_world_model(path), load_world_model(exported)
    assert not old.fused
    state = Start(np.zeros((2, 1, 16), "f"), np.zeros((2, 1), "f"), np.zeros((1, 2), "f"))
    actions = np.ones((3, 4, 2), np.float32)
    for one, other in zip(
        old.rollout(state, actions)[:2], new.rollout(state, actions)[:2], strict=True
    ):
        np.testing.assert_allclose(one, other, atol=PARITY_TOLERANCE)
    with pytest.raises(BundleError, match=r"has no variant 'int8' \(it has fp32\)"):
        load_world_model(path, variant="int8")


def test_running_a_bundle_needs_no_torch(exported: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from world_model.runtime import load_world_model;"
        "load_world_model(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(exported)], check=True)


def _edit(path: Path, change: Callable[[dict], None]) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def _wrong_width(path: Path) -> None:
    def change(manifest: dict) -> None:
        manifest["latent"]["width"] = 17

    _edit(path, change)


def _swap_networks(path: Path) -> None:
    shutil.copy(path / "encoder.onnx", path / "predictor.onnx")

    def change(manifest: dict) -> None:
        manifest["files"]["predictor.onnx"]["sha256"] = sha256(path / "predictor.onnx")

    _edit(path, change)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such bundle folder"),
        (lambda p: (p / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda p: (p / "manifest.json").write_text('{"format'), "not valid JSON"),
        (lambda p: _edit(p, lambda m: m.update(format_version=99)), "format version 99"),
        (lambda p: _edit(p, lambda m: m.pop("context")), "missing or malformed field .*context"),
        (lambda p: _edit(p, lambda m: m.update(model_dt_s=-1)), "model_dt_s must lie"),
        (lambda p: _edit(p, lambda m: m["action"][0].update(high=np.inf)), "limits must be finite"),
        (lambda p: _edit(p, lambda m: m["cameras"]["scene"].update(colour="BGR")), "must be RGB"),
        (
            lambda p: _edit(p, lambda m: m["cameras"]["scene"].update(fit="pad")),
            "'pad' of camera 'scene' is not one of crop, stretch",
        ),
        (lambda p: (p / "encoder.onnx").unlink(), "encoder.onnx: missing from the bundle"),
        (lambda p: (p / "predictor.onnx").write_bytes(b"x"), "predictor.onnx: its hash differs"),
        (_wrong_width, r"do not fit the manifest \(encoder gives \(1, 16\)"),
        (_swap_networks, "do not fit the manifest"),
    ],
)
def test_a_damaged_bundle_is_refused_in_one_line(
    exported: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(exported, path)
    damage(path)
    with pytest.raises(BundleError, match=message) as caught:
        load_world_model(path)
    assert "\n" not in str(caught.value)


def test_a_network_can_be_added_and_is_checked_like_the_others(
    exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(exported, path)
    source = tmp_path / "made.onnx"
    source.write_bytes((exported / "predictor.onnx").read_bytes())
    bundle = add_network(path, "extra", source, {"unit": "steps"})
    assert bundle.networks["extra"].details == {"unit": "steps"}
    assert bundle.networks["extra"].path.read_bytes() == source.read_bytes()
    assert [file.name for file in bundle.files][-1] == "extra.onnx"
    load_world_model(path)  # who does not know it leaves it alone
    assert add_network(path, "extra", exported / "encoder.onnx", {}).networks["extra"]
    for name in ("encoder", "../extra", ""):
        with pytest.raises(BundleError, match="cannot be named"):
            add_network(path, name, source, {})
    (path / "extra.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"extra\.onnx: its hash differs"):
        open_bundle(path)
    (path / "extra.onnx").unlink()
    with pytest.raises(BundleError, match=r"extra\.onnx: missing from the bundle"):
        open_bundle(path)
    _edit(path, lambda m: m["networks"]["extra"].update(file="../extra.onnx"))
    with pytest.raises(BundleError, match="is not a file of the bundle"):
        open_bundle(path)


def test_export_refuses_what_it_cannot_prove(
    exported: Path, trained: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="exists already"):
        export(trained, dots, exported)
    monkeypatch.setattr("world_model.export.PARITY_TOLERANCE", 1e-12)
    with pytest.raises(ExportError, match=r"ONNX differs from torch by .* was not written"):
        export(trained, dots, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "photos").mkdir()
    with pytest.raises(ExportError, match="not a bundle, so it is not replaced"):
        export(trained, dots, tmp_path / "photos", overwrite=True)


def test_export_refuses_a_network_that_gives_nan(
    trained: Path, dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = OnnxWorldModel.predict

    def broken(self: OnnxWorldModel, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        latent, proprio = predict(self, *inputs)
        return latent, proprio if len(proprio) == 2 else proprio * np.nan  # 2: the warm-up

    monkeypatch.setattr(OnnxWorldModel, "predict", broken)
    with pytest.raises(ExportError, match="ONNX differs from torch by nan"):
        export(trained, dots, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_of_two_cameras_keeps_them_apart(tmp_path: Path) -> None:
    cameras = {"left": (32, 32), "wrist": (32, 48)}
    scale = Normalization(np.zeros(2), np.ones(2), np.zeros(1), np.ones(1))
    torch.manual_seed(0)
    model = Jepa(SMALL, cameras, scale).eval()
    limit = np.ones(1, np.float32)
    spec = ModelSpec(
        cameras,
        ("a", "b"),
        ("tool.vx",),
        -limit,
        limit,
        0.1,
        2,
        model.latent_shape,
        {"wrist": "stretch"},
    )
    _write_networks(model, spec, tmp_path)
    write_manifest(tmp_path, spec, {})
    assert open_bundle(tmp_path).spec.fits == {"left": "crop", "wrist": "stretch"}
    _edit(tmp_path, lambda m: [camera.pop("fit") for camera in m["cameras"].values()])
    assert open_bundle(tmp_path).spec.fits == {"left": "crop", "wrist": "crop"}  # as of before
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 256, (*size, 3), np.uint8) for n, size in cameras.items()}
    latent = load_world_model(tmp_path, "cpu").encode(dict(reversed(images.items())))
    expected = model.encode({name: torch.from_numpy(v[None]) for name, v in images.items()})
    assert latent.shape == (2, 16)
    np.testing.assert_allclose(latent, expected[0].detach().numpy(), atol=PARITY_TOLERANCE)


def test_a_provider_that_is_not_there_is_told() -> None:
    assert choose_providers("auto")[-1] == "CPUExecutionProvider"
    if "CUDAExecutionProvider" in choose_providers("auto"):
        assert choose_providers("cuda") == ["CUDAExecutionProvider"]
    else:
        with pytest.raises(ProviderError, match="provider 'cuda' is not available"):
            choose_providers("cuda")
        with pytest.raises(ProviderError, match="provider 'tensorrt' is not available"):
            choose_providers("tensorrt")


def test_where_a_gpu_is_there_auto_takes_cuda_and_tensorrt_only_when_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu, cuda, tensorrt = (f"{n}ExecutionProvider" for n in ("CPU", "CUDA", "Tensorrt"))
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [tensorrt, cuda, cpu])
    assert choose_providers("auto") == [cuda, cpu]
    assert choose_providers("tensorrt") == [tensorrt, cuda]
    assert choose_providers("cpu") == [cpu]


def test_a_provider_that_silently_falls_back_is_not_taken_for_the_one_asked_for(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("world_model.runtime.choose_providers", lambda _: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match="'cuda' could not be started, ONNX Runtime took 'cpu'"):
        load_world_model(exported, provider="cuda")
