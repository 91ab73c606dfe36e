"""Grad-TTS from corpus to voice: the unrolled solver in the file says what torch says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.config import build
from glottis.errors import InputError
from glottis.export import export_voice, load_run
from glottis.likelihood.diffusion import SOLVERS
from glottis.models.grad_tts import Config, GradTTS
from glottis.training.config import Recipe
from glottis.training.durations import durations_of, read_durations, write_durations
from glottis.training.run import run
from glottis.voice import Voice
from small_recipes import GLOW, TRAINING

GRAD = {
    "channels": 16,
    "filter_channels": 16,
    "encoder_layers": 1,
    "duration_channels": 8,
    "score_channels": 8,
    "score_groups": 4,
    "score_multipliers": [1, 2],
    "segment_frames": 16,
    "n_timesteps": 2,
}
HIFI = {
    "channels": 8,
    "upsample_rates": [16, 16],
    "upsample_kernels": [32, 32],
    "resblock": "2",
    "resblock_kernels": [3],
    "resblock_dilations": [[1, 2]],
    "periods": [2],
    "period_channels": [4],
    "scales": 1,
    "scale_channels": [16, 16, 16, 16, 16, 16, 16],
}


def _train(data: Path, folder: Path, model: str, network: dict, **training: object) -> Path:  # type: ignore[type-arg]
    settings = {**TRAINING, "max_steps": 2, **training}
    values = {"model": model, "network": network, "training": settings}
    return run(build(Recipe, values, "test"), [data], folder / model)


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return _train(data, folder, "grad_tts", GRAD), _train(data, folder, "hifi_gan", HIFI)


@pytest.mark.parametrize(("solver", "steps"), [("euler", 2), ("dpm2", 4)])
def test_a_voice_speaks_with_the_solver_it_was_exported_with(
    runs: tuple[Path, Path], tmp_path: Path, solver: str, steps: int
) -> None:
    """``export_voice`` compares torch and the file itself and writes nothing that differs."""
    out = export_voice(
        runs[0],
        tmp_path / "v.onnx",
        vocoder=runs[1],
        settings=[f"solver={solver}", f"n_timesteps={steps}"],
    )
    voice = Voice.load(out)
    one, two, other = (voice.speak("Round bowls of rice.", seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.samples, two.samples)
    assert not np.array_equal(one.samples, other.samples)
    assert np.isfinite(one.samples).all()


def test_settings_that_training_fixed_or_nobody_knows_are_refused(
    runs: tuple[Path, Path], tmp_path: Path
) -> None:
    for words, said in (
        (["score_channels=16"], "does not hold this network"),
        (["steps=4"], "unknown setting 'steps'"),
        (["solver=rk4"], "dpm2"),
    ):
        with pytest.raises(InputError, match=said):
            export_voice(runs[0], tmp_path / "v.onnx", vocoder=runs[1], settings=words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("solver", "steps", "speakers"),
    [(solver, 2, 1) for solver in SOLVERS] + [("euler", 10, 1), ("dpm2", 4, 1), ("euler", 2, 2)],
)
def test_the_graph_equals_torch_at_every_length(
    solver: str, steps: int, speakers: int, tmp_path: Path
) -> None:
    """Every number of frames modulo the U-Net's stride, with trained-looking means; a model of
    several speakers is told the pitch, too."""
    torch.manual_seed(0)
    config = build(
        Config,
        {
            **GRAD,
            "mel": {"mels": 8},
            "solver": solver,
            "speakers": speakers,
            "pitch": speakers > 1,
            "predicts": "velocity" if solver == "dpm2" else "score",
            "n_timesteps": steps,
            # One resolution where steps are many: tracing them takes long.
            "score_multipliers": [1, 2] if steps == 2 else [1],
        },
        "test",
    )
    assert config.mel == MelConfig(mels=8)
    graph = GradTTS(config).eval().requires_grad_(False)
    # An untrained score that is large leads a solver away.
    graph.score.project.weight.mul_(0.01)
    if graph.score.pitch is not None:
        graph.score.pitch.weight.normal_()
    module = graph.export_graph()
    values = {
        "text": torch.tensor([[1, 0, 9, 0, 12, 0, 2]]),
        "lengths": torch.tensor([7]),
        "scales": torch.tensor([0.7, 1.0, 0.0]),
        "speaker": torch.tensor([speakers - 1]),
        "seed": torch.tensor([5]),
    }
    names = [name for name in values if name != "speaker" or speakers > 1]

    class Named(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given = dict(zip(names, inputs, strict=True))
            return module(
                given["text"],
                given["lengths"],
                given["scales"],
                given.get("speaker"),
                given["seed"],
            )

    file = tmp_path / "graph.onnx"
    with torch.no_grad():
        torch.onnx.export(
            Named(),
            tuple(values[name] for name in names),
            str(file),
            input_names=names,
            output_names=["mel", "durations", "pitch"][: 3 if config.pitch else 2],
            dynamic_axes={
                "text": {1: "n"},
                "durations": {1: "n"},
                "mel": {2: "frames"},
                **({"pitch": {1: "frames"}} if config.pitch else {}),
            },
            opset_version=17,
            dynamo=False,
        )
    session = onnxruntime.InferenceSession(str(file))
    seen = set()
    rng = np.random.default_rng(0)
    for length in range(3, 19):
        text = np.zeros((1, 2 * length + 1), np.int64)
        text[0, ::2] = rng.integers(3, 60, length + 1)
        values["text"], values["lengths"] = torch.from_numpy(text), torch.tensor([text.shape[1]])
        values["scales"] = torch.tensor([0.7, 1.0 + 0.07 * length, 0.0])
        with torch.no_grad():
            mel, durations, *pitch = Named()(*(values[name] for name in names))
        found, frames, *heard = session.run(None, {name: values[name].numpy() for name in names})
        assert np.array_equal(frames, durations.numpy())
        assert found.shape == mel.shape == (1, 8, int(durations.sum()))
        scale = max(1.0, float(mel.abs().max()))
        assert np.abs(found - mel.numpy()).max() < 2e-4 * scale
        seen.add(mel.shape[2] % config.stride)
        for one, other in zip(pitch, heard, strict=True):
            assert one.shape == (1, mel.shape[2])
            np.testing.assert_allclose(other, one.numpy(), rtol=1e-4)
    assert len(seen) == config.stride


def test_durations_of_another_model_train_this_one(data: Path, tmp_path: Path) -> None:
    aligner = _train(data, tmp_path, "glow_tts", GLOW)
    file = tmp_path / "durations.jsonl"
    assert write_durations(aligner, [data], file) == 16
    found = read_durations(file)
    assert len(found) == 16
    given = {**GRAD, "durations": "given", "prior_loss": "none"}
    folder = _train(data, tmp_path, "grad_tts", given, durations=str(file))
    assert load_run(folder)[1]["network"]["durations"] == "given"
    # Durations were taken from the file: with another utterance's they would not sum up.
    name = next(iter(found))
    file.write_text(json.dumps({"id": name, "durations": found[name]}) + "\n")
    with pytest.raises(InputError, match="does not know"):
        _train(data, tmp_path / "other", "grad_tts", given, durations=str(file))


def test_bad_durations_are_named(tmp_path: Path, runs: tuple[Path, Path], data: Path) -> None:
    file = tmp_path / "d.jsonl"
    with pytest.raises(InputError, match="no durations at"):
        read_durations(file)
    file.write_bytes(b'{"id": "\xe4", "durations": [1]}')
    with pytest.raises(InputError, match="is not UTF-8: byte 8"):
        read_durations(file)
    good = '{"id": "a", "durations": [1, 2]}'
    for bad in ("[1]", '{"id": "b"}', '{"id": "b", "durations": [1.5]}', "nothing"):
        file.write_text(f"{good}\n{bad}\n")
        with pytest.raises(InputError, match="line 2"):
            read_durations(file)
    with pytest.raises(InputError, match="a: 2 durations for 3 phoneme ids"):
        durations_of("a", 3, {"a": [1, 2]})
    with pytest.raises(InputError, match="aligns nothing"):
        write_durations(runs[1], [data], file)


def test_a_run_from_before_a_setting_existed_goes_on(data: Path, tmp_path: Path) -> None:
    folder = _train(data, tmp_path, "glow_tts", GLOW)
    facts = json.loads((folder / "run.json").read_text())
    for added in ("prenet", "block_dilation", "bounded_scale", "duration_rounding"):
        del facts["network"][added]
    (folder / "run.json").write_text(json.dumps(facts))
    assert _train(data, tmp_path, "glow_tts", GLOW, max_steps=3) == folder
    with pytest.raises(InputError, match="another network"):
        _train(data, tmp_path, "glow_tts", {**GLOW, "prenet": False}, max_steps=4)
