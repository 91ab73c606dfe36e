"""Public checkpoints of VITS: read without executing them, and computing what they computed.

``tests/data/vits_original.json`` holds names and shapes of the authors' weights for a tiny network
and a few of its results; ``benchmarks/vits_original.py`` wrote it, and compares everything else.
"""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glottis.config import build
from glottis.corpus.batches import UtteranceBatch
from glottis.errors import InputError
from glottis.models.vits import VITS, Config
from glottis.models.vits_original import PIPER, from_original, read_checkpoint

RECORD: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "vits_original.json").read_text(encoding="utf-8")
)


def _weights() -> dict[str, torch.Tensor]:
    """By name and shape alone, as the benchmark made them."""
    weights = {}
    for name, shape in RECORD["shapes"].items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        values = random.standard_normal(shape) * 0.5 / max(1.0, np.prod(shape[1:])) ** 0.5
        if name.endswith(("weight_g", "gamma")):
            values = 1 + 0.1 * np.abs(values)
        weights[name] = torch.from_numpy(np.asarray(values, np.float32).reshape(shape))
    return weights


def _loaded(checkpoint: dict[str, Any], settings: dict[str, Any] | None = None) -> VITS:
    network, state = from_original(checkpoint, settings)
    # The authors' discriminators have one size, a hundred times the rest of this network.
    small = {"periods": [2], "period_channels": [4], "waveform_channels": []}
    model = VITS(build(Config, {**network, **small}))
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("discriminators.") for name in missing)
    return model.eval()


def test_the_authors_weights_compute_what_they_computed() -> None:
    model = _loaded({"model": _weights(), "iteration": 3}, RECORD["settings"])
    wanted = RECORD["outputs"]
    random = torch.Generator().manual_seed(0)
    text = torch.randint(1, 40, (2, 13), generator=random)
    text[1, 9:] = 0
    audio = torch.randn(2, 60 * 256, generator=random) * 0.1
    audio[1, 44 * 256 :] = 0
    batch = UtteranceBatch(
        ["a", "b"],
        text,
        torch.tensor([13, 9]),
        torch.zeros(2, 80, 60),
        torch.tensor([60, 44]),
        torch.tensor([1, 2]),
        audio=audio,
    )
    with torch.no_grad():
        torch.manual_seed(3)
        found = model.explain(batch)
        noise = torch.randn(2, 2, 13, generator=torch.Generator().manual_seed(7))
        mask = torch.arange(13) < batch.text_lengths[:, None, None]
        speaker = model._speaker(batch.speaker)
        drawn = model._log_frames(found.prior.hidden, mask, speaker, noise * 0.8)

    def close(ours: torch.Tensor, name: str) -> None:
        theirs = torch.tensor(wanted[name])
        torch.testing.assert_close(ours.flatten(), theirs, atol=1e-4, rtol=1e-4)

    close(found.flowed[0, :, :3], "latent")
    assert found.durations[0].tolist() == wanted["durations"]
    close(drawn[0], "log_frames")
    token = int(torch.repeat_interleave(torch.arange(13), found.durations[0])[10])
    close(found.prior.mean[0, :, token], "prior")


def test_pipers_checkpoints_hold_both_networks_and_name_their_files(tmp_path: Path) -> None:
    settings = RECORD["settings"]["model"]
    names = {k: settings[k] for k in settings if k.startswith(("resblock", "upsample"))}
    checkpoint = {
        "state_dict": {f"model_g.{name}": value for name, value in _weights().items()},
        "hyper_parameters": {"num_symbols": 40, "dataset": [tmp_path / "dataset.jsonl"], **names},
        "epoch": 7,
    }
    torch.save(checkpoint, tmp_path / "epoch=7.ckpt")
    read = read_checkpoint(tmp_path / "epoch=7.ckpt")
    assert read["hyper_parameters"]["dataset"][0].endswith("dataset.jsonl")
    piper, authors = _loaded(read), _loaded({"model": _weights()}, RECORD["settings"])
    assert piper.config == authors.config
    ours, theirs = piper.state_dict(), authors.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if "discriminators" not in k)


def test_pipers_defaults_are_the_medium_recipe() -> None:
    from glottis.training.run import read_recipe

    network = read_recipe("vits/medium").network
    assert network["upsample_rates"] == list(PIPER["upsample_rates"])
    assert network["upsample_kernels"] == list(PIPER["upsample_kernel_sizes"])
    assert network["upsample_channels"] == PIPER["upsample_initial_channel"]
    assert network["resblock_dilations"] == list(map(list, PIPER["resblock_dilation_sizes"]))


def test_fine_tuning_starts_from_all_of_an_imported_network(tmp_path: Path) -> None:
    """A run of the imported settings takes every weight; only discriminators may start anew."""
    from safetensors.torch import save_file

    from glottis.training.run import load_weights, read_recipe

    imported = _loaded({"model": _weights()}, RECORD["settings"])
    save_file(imported.state_dict(), tmp_path / "model.safetensors")
    fresh = VITS(imported.config)
    load_weights(fresh, tmp_path)
    ours, theirs = fresh.state_dict(), imported.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    network = read_recipe("vits/finetune").network
    given, _ = from_original({"model": _weights()}, RECORD["settings"])
    for name in ("spline_minimum_bin", "spline_minimum_derivative", "power_floor"):
        assert network[name] == given[name]


def test_single_speaker_layout_has_no_embedding() -> None:
    weights = {k: v for k, v in _weights().items() if "cond" not in k and "emb_g" not in k}
    model = _loaded({"model": weights}, RECORD["settings"])
    assert model.speakers is None
    samples, lengths, _ = model.synthesize(torch.tensor([[5, 0, 6]]), torch.tensor([3]))
    assert samples.shape == (1, int(lengths))
    assert torch.isfinite(samples).all()


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_nothing_in_a_checkpoint_is_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "G_0.pth"
    torch.save({"model": {}, "optimizer": Harmful()}, path)
    with pytest.raises(InputError, match="print.*executed"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_checkpoint(path)
    assert capsys.readouterr().out == ""


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        read_checkpoint(tmp_path / "missing.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(InputError, match="torn.pth"):
        read_checkpoint(tmp_path / "torn.pth")
    with pytest.raises(InputError, match="it holds weights, step"):
        from_original({"weights": {}, "step": 1})
    with pytest.raises(InputError, match="JSON of settings"):
        from_original({"model": _weights()})
    with pytest.raises(InputError, match="enc_p"):
        from_original({"model": {"encoder.weight": torch.zeros(1)}}, RECORD["settings"])
    more = {**_weights(), "enc_p.extra.weight": torch.zeros(1)}
    with pytest.raises(InputError, match=r"enc_p\.extra\.weight has no place"):
        from_original({"model": more}, RECORD["settings"])
    short = {**RECORD["settings"], "data": {**RECORD["settings"]["data"], "win_length": 800}}
    with pytest.raises(InputError, match="win_length"):
        from_original({"model": _weights()}, short)
    lacking = {k: v for k, v in _weights().items() if k != "enc_p.proj.weight"}
    with pytest.raises(InputError, match=r"enc_p\.proj\.weight"):
        from_original({"model": lacking}, RECORD["settings"])
