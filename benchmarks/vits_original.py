"""VITS beside its authors' code: ``python benchmarks/vits_original.py FOLDER [--time]``.

FOLDER is a checkout of jaywalnut310/vits. Both get the same random weights, the same batch and the
same noise; every part, loss and sample must agree to 1e-4. ``--time`` then measures a training step
of both at the paper's size, losses and gradients of generator and discriminators, and writes a row
of RESULTS.md. ``--record FILE`` writes the names and shapes of the authors' weights for a tiny
network, and what it computes, for the tests.

Stand-ins for what the authors' code needs and today's libraries no longer have: ``torch.stft`` with
real output, librosa's filterbank (ours, tested equal) and the compiled alignment
(``monotonic-alignment-search``, the same algorithm as a package).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import harness
from glottis.alignment import expand
from glottis.audio.mel import MelConfig, mel_filterbank
from glottis.config import build
from glottis.corpus.batches import UtteranceBatch
from glottis.likelihood.divergence import kl_from_draw
from glottis.models.vits import VITS, Config
from glottis.originals.names import fitted
from glottis.originals.vits import from_authors

SETTINGS: dict[str, Any] = {
    "train": {"segment_size": 8192},
    "data": {
        "sampling_rate": 22050,
        "filter_length": 1024,
        "hop_length": 256,
        "win_length": 1024,
        "n_mel_channels": 80,
        "mel_fmin": 0.0,
        "mel_fmax": None,
    },
    "model": {
        "inter_channels": 192,
        "hidden_channels": 192,
        "filter_channels": 768,
        "n_heads": 2,
        "n_layers": 6,
        "kernel_size": 3,
        "p_dropout": 0.1,
        "resblock": "1",
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "upsample_rates": [8, 8, 2, 2],
        "upsample_initial_channel": 512,
        "upsample_kernel_sizes": [16, 16, 4, 4],
        "gin_channels": 256,
    },
}
TINY = {
    "inter_channels": 4,
    "hidden_channels": 4,
    "filter_channels": 8,
    "n_layers": 2,
    "upsample_rates": [16, 16],
    "upsample_initial_channel": 8,
    "upsample_kernel_sizes": [32, 32],
    "resblock": "2",
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 2], [2, 6]],
    "gin_channels": 4,
}
SYMBOLS, SPEAKERS = 40, 3


def load_authors(folder: Path) -> Any:
    """The authors' modules, beside stand-ins for their missing dependencies."""
    sys.path.insert(0, str(folder))
    stft = torch.stft

    def real_stft(*args: Any, **options: Any) -> Tensor:
        if "return_complex" in options:
            return stft(*args, **options)
        return torch.view_as_real(stft(*args, **options, return_complex=True))

    torch.stft = real_stft  # type: ignore[assignment]

    def mel(rate: int, size: int, mels: int, low: float, high: float | None) -> np.ndarray:
        top = high or rate / 2
        return mel_filterbank(
            MelConfig(sample_rate=rate, fft_size=size, mels=mels, mel_low=low, mel_high=top)
        ).copy()

    def path(value: Tensor, mask: Tensor) -> Tensor:
        from monotonic_alignment_search import maximum_path

        turned = [t.detach().transpose(1, 2).contiguous() for t in (value, mask)]
        return maximum_path(*turned).transpose(1, 2).to(value.dtype)

    absent = ("librosa", "librosa.util", "librosa.filters")
    absent += ("scipy", "scipy.signal", "scipy.io", "scipy.io.wavfile")
    for name in absent:
        module: Any = types.ModuleType(name)
        module.normalize = module.pad_center = module.tiny = module.get_window = None
        module.read = None
        module.mel = mel
        sys.modules[name] = module
    sys.modules["librosa"].util = sys.modules["librosa.util"]  # type: ignore[attr-defined]
    searching: Any = types.ModuleType("monotonic_align")
    searching.maximum_path = path
    sys.modules["monotonic_align"] = searching
    import commons
    import losses
    import mel_processing

    import models

    for name in absent:
        del sys.modules[name]
    return types.SimpleNamespace(commons=commons, losses=losses, mel=mel_processing, models=models)


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights by name and shape alone, so that they need not be kept: small, and none of them 0."""
    weights = {}
    for name, shape in shapes.items():
        random = np.random.default_rng(zlib.crc32(name.encode()))
        values = random.standard_normal(shape) * 0.5 / max(1.0, np.prod(shape[1:])) ** 0.5
        if name.endswith(("weight_g", "gamma")):
            values = 1 + 0.1 * np.abs(values)
        weights[name] = torch.from_numpy(np.asarray(values, np.float32).reshape(shape))
    return weights


def batch_of(config: Config, frames: tuple[int, int] = (60, 44)) -> UtteranceBatch:
    """Two utterances of noise."""
    random = torch.Generator().manual_seed(0)
    hop, texts = config.mel.hop, torch.tensor([13, 9])
    lengths = torch.tensor(frames)
    text = torch.randint(1, SYMBOLS, (2, 13), generator=random)
    text[1, 9:] = 0
    audio = torch.randn(2, frames[0] * hop, generator=random) * 0.1
    audio[1, frames[1] * hop :] = 0
    mel = torch.zeros(2, config.mel.mels, frames[0])
    return UtteranceBatch(["a", "b"], text, texts, mel, lengths, torch.tensor([1, 2]), audio=audio)


class Comparison:
    """Prints the largest difference of each part and remembers the worst."""

    def __init__(self) -> None:
        self.worst = 0.0

    def __call__(self, what: str, ours: Tensor, theirs: Tensor) -> None:
        assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
        scale = max(1.0, float(theirs.abs().max()))
        difference = float((ours.float() - theirs.float()).abs().max()) / scale
        self.worst = max(self.worst, difference)
        print(f"{what:32s} {difference:.1e}  (largest value {scale:.3g})", flush=True)


def same_models(
    authors: Any, settings: dict[str, Any], stochastic: bool
) -> tuple[Any, Any, VITS, dict[str, Tensor]]:
    """The authors' generator and discriminators, our model of both, all to be trained and with the
    same weights; and those of the generator.
    """
    theirs = authors.models.SynthesizerTrn(
        SYMBOLS, 513, 32, n_speakers=SPEAKERS, use_sdp=stochastic, **settings["model"]
    )
    judges = authors.models.MultiPeriodDiscriminator()
    weights = [
        filled({k: list(v.shape) for k, v in m.state_dict().items()}) for m in (theirs, judges)
    ]
    theirs.load_state_dict(weights[0])
    judges.load_state_dict(weights[1])
    network, state = from_authors({**weights[0], **weights[1]}, settings)
    ours = VITS(build(Config, network))
    ours.load_state_dict(fitted(state, ours.state_dict()))
    return theirs, judges, ours, weights[0]


@torch.no_grad()
def compare(authors: Any, settings: dict[str, Any], stochastic: bool) -> dict[str, Any]:
    """Every part beside the authors'; -> names and shapes of their weights, a few results."""
    data = settings["data"]
    theirs, judges, ours, weights = same_models(authors, settings, stochastic)
    for model in (theirs, judges, ours):
        model.eval()
    batch = batch_of(ours.config)
    assert batch.audio is not None
    check = Comparison()

    hop, lengths = data["hop_length"], batch.mel_lengths
    spectra = [
        authors.mel.spectrogram_torch(y[None, : n * hop], 1024, 22050, hop, 1024)[0]
        for y, n in zip(batch.audio, lengths.tolist(), strict=True)
    ]
    spec = torch.nn.utils.rnn.pad_sequence([s.T for s in spectra], True).transpose(1, 2)
    torch.manual_seed(3)
    found = ours.explain(batch)
    inside = torch.arange(spec.shape[2]) < lengths[:, None]
    check("spectrogram", found.spectrogram * inside[:, None], spec)

    torch.manual_seed(3)
    audio, _, attention, ids, x_mask, z_mask, rest = theirs(
        batch.text, batch.text_lengths, spec, lengths, batch.speaker
    )
    z, z_p, m_p, logs_p, _, logs_q = rest
    check("posterior: sample", found.latent, z)
    check("posterior: log scale", found.log_scale, logs_q)
    check("flow", found.flowed, z_p)
    check("flow: inverse", ours.flow.inverse(z_p, z_mask.bool(), ours._speaker(batch.speaker)), z)
    check("alignment", found.durations.float(), attention.sum(2).squeeze(1))
    frames = z.shape[2]
    mean = expand(found.prior.mean, found.durations, frames)
    log_scale = expand(found.prior.log_scale, found.durations, frames)
    check("prior: mean", mean, m_p)
    check("prior: log scale", log_scale, logs_p)
    given = ours._speaker(batch.speaker)
    torch.manual_seed(5)
    wanted = theirs.dp(
        *(theirs.enc_p(batch.text, batch.text_lengths)[0], x_mask),
        **({"w": attention.sum(2)} if stochastic else {}),
        g=theirs.emb_g(batch.speaker).unsqueeze(-1),
    )
    torch.manual_seed(5)
    if stochastic:
        distribution = ours.durations.distribution(found.prior.hidden, batch.text_lengths, given)
        check("duration: bound", -distribution.evidence_bound(found.durations[:, None]), wanted)
        noise = torch.randn(2, 2, 13, generator=torch.Generator().manual_seed(7))
        torch.manual_seed(7)
        drawn = theirs.dp(
            theirs.enc_p(batch.text, batch.text_lengths)[0],
            x_mask,
            g=theirs.emb_g(batch.speaker).unsqueeze(-1),
            reverse=True,
            noise_scale=0.8,
        )
        sampled = ours.durations.log_frames(found.prior.hidden, x_mask.bool(), noise * 0.8, given)
        check("duration: sample", sampled, drawn.squeeze(1))
    else:
        check(
            "duration: prediction",
            ours._log_frames(found.prior.hidden, x_mask.bool(), given, None),
            wanted.squeeze(1),
        )

    real, target, fake = ours._windows(batch, found, ids)
    check("decoder", fake, audio.squeeze(1))
    mel = authors.mel.spec_to_mel_torch(spec, 1024, 80, 22050, 0.0, None)
    take = [slice(int(i), int(i) + 32) for i in ids]
    y_mel = torch.stack([m[:, s] for m, s in zip(mel, take, strict=True)])
    y = torch.stack(
        [a[s.start * hop : s.stop * hop] for a, s in zip(batch.audio, take, strict=True)]
    )
    y_hat_mel = authors.mel.mel_spectrogram_torch(
        audio.squeeze(1), 1024, 80, 22050, hop, 1024, 0.0, None
    )
    check("window", real, y)
    check("log-mel of the window", target, y_mel)
    torch.manual_seed(5)
    _, logs = ours._losses(batch, found, (target, fake))
    check("loss: mel", logs["mel"], torch.nn.functional.l1_loss(y_mel, y_hat_mel))
    check("loss: KL", logs["kl"], authors.losses.kl_loss(z_p, logs_q, m_p, logs_p, z_mask))
    own = kl_from_draw(found.flowed, found.log_scale, mean, log_scale, z_mask.bool())
    check("loss: KL by itself", own, logs["kl"])
    if stochastic:
        check("loss: duration", logs["duration"], wanted.sum() / x_mask.sum())
    r, g, fr, fg = judges(y[:, None], audio)
    judged, faked = ours.discriminators(real), ours.discriminators(fake)
    from glottis.blocks.discriminators import (
        discriminator_loss,
        feature_matching_loss,
        generator_loss,
    )

    check(
        "loss: discriminator",
        discriminator_loss(judged, faked, "sum"),
        authors.losses.discriminator_loss(r, g)[0],
    )
    check("loss: adversarial", generator_loss(faked, "sum"), authors.losses.generator_loss(g)[0])
    features = ours.config.feature_weight * feature_matching_loss(judged, faked, "sum")
    check("loss: features", features, authors.losses.feature_loss(fr, fg))

    torch.manual_seed(9)
    wanted, _, mask, _ = theirs.infer(
        batch.text, batch.text_lengths, batch.speaker, 0.667, 1.0, 0.8
    )
    torch.manual_seed(9)

    def noise(channels: int, steps: Tensor | int, stream: int) -> Tensor:
        # The authors' second draw fills a transposed tensor, which torch does in another way.
        if stream == 1:
            return torch.randn(2, channels, int(steps))
        return torch.randn_like(torch.empty(2, int(steps), channels).transpose(1, 2))

    sample, durations = ours.generate(
        batch.text, batch.text_lengths, batch.speaker, None, (0.667, 1.0, 0.8), noise
    )
    sample = sample * (torch.arange(sample.shape[1]) < (durations.sum(1) * hop)[:, None])
    longest = wanted.squeeze(1) * torch.repeat_interleave(mask.squeeze(1), hop, 1)
    check("sample: audio", sample, longest)
    torch.manual_seed(11)
    wanted, mask, _ = theirs.voice_conversion(spec, lengths, batch.speaker, batch.speaker - 1)
    torch.manual_seed(11)
    turned = ours.convert(batch.audio, lengths * hop, batch.speaker, batch.speaker - 1)
    check(
        "conversion", turned, wanted.squeeze(1) * torch.repeat_interleave(mask.squeeze(1), hop, 1)
    )
    assert check.worst <= 1e-4, f"the worst difference is {check.worst:.1e}"
    outputs = {
        "latent": z_p[0, :, :3].flatten().tolist(),
        "prior": m_p[0, :, 10].tolist(),
        "durations": attention.sum(2).squeeze(1)[0].long().tolist(),
        "audio": audio[0, 0, 4000:4016].tolist(),
        "log_frames": drawn[0, 0].tolist() if stochastic else [],
    }
    shapes = {k: list(v.shape) for k, v in weights.items()}
    return {"shapes": shapes, "outputs": outputs}


def time_steps(authors: Any, settings: dict[str, Any], folder: Path) -> None:
    """A row of RESULTS.md: a training step, as in the authors' ``train.py``, of both."""
    data = settings["data"]
    theirs, judges, ours, _ = same_models(authors, settings, True)
    batch, hop, losses = batch_of(ours.config, (300, 280)), data["hop_length"], authors.losses
    assert batch.audio is not None
    spectra = [
        authors.mel.spectrogram_torch(y[None, : n * hop], 1024, 22050, hop, 1024)[0]
        for y, n in zip(batch.audio, batch.mel_lengths.tolist(), strict=True)
    ]
    spec = torch.nn.utils.rnn.pad_sequence([s.T for s in spectra], True).transpose(1, 2)
    audio = batch.audio[:, None]
    groups = ours.optimized()

    def step_theirs() -> float:
        made, length, _, ids, _, z_mask, (_, z_p, m_p, logs_p, _, logs_q) = theirs(
            batch.text, batch.text_lengths, spec, batch.mel_lengths, batch.speaker
        )
        mel = authors.mel.spec_to_mel_torch(spec, 1024, 80, 22050, 0.0, None)
        window = authors.commons.slice_segments(mel, ids, 32)
        made_mel = authors.mel.mel_spectrogram_torch(
            made.squeeze(1), 1024, 80, 22050, hop, 1024, 0.0, None
        )
        real = authors.commons.slice_segments(audio, ids * hop, 32 * hop)
        of_real, of_made, _, _ = judges(real, made.detach())
        judges.zero_grad()
        losses.discriminator_loss(of_real, of_made)[0].backward()
        _, of_made, real_features, made_features = judges(real, made)
        loss = torch.nn.functional.l1_loss(window, made_mel) * 45 + length.float().sum()
        loss = loss + losses.kl_loss(z_p, logs_q, m_p, logs_p, z_mask)
        loss = loss + losses.feature_loss(real_features, made_features)
        loss = loss + losses.generator_loss(of_made)[0]
        theirs.zero_grad()
        loss.backward()
        return float(loss.detach())

    def step_ours() -> float:
        for name, loss, _ in ours.steps(batch, 10**6):
            for parameter in groups[name]:
                parameter.grad = None
            loss.backward()
        return float(loss.detach())

    revision = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=True,
    )
    harness.compare(
        harness.Claim(
            "VITS training step, paper's size, 2 x 3.4 s, one thread",
            "python benchmarks/vits_original.py FOLDER --time",
            f"jaywalnut310/vits {revision.stdout.strip()}",
        ),
        step_ours,
        step_theirs,
        # Each draws its own noise and windows; parts and losses were compared above.
        lambda a, b: 0.5 < a / b < 2,
        repeats=3,
        threads=1,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--time", action="store_true")
    words = parser.parse_args()
    torch.set_num_threads(1)
    authors = load_authors(words.folder)
    tiny = {**SETTINGS, "model": {**SETTINGS["model"], **TINY}}
    for name, settings, stochastic in (
        ("tiny, stochastic", tiny, True),
        ("tiny, deterministic", tiny, False),
        ("paper, stochastic", SETTINGS, True),
    ):
        print(f"-- {name}")
        record = compare(authors, settings, stochastic)
        if words.record and name == "tiny, stochastic":
            record["settings"] = settings
            words.record.write_text(json.dumps(record) + "\n", encoding="utf-8")
    if words.time:
        time_steps(authors, SETTINGS, words.folder)


if __name__ == "__main__":
    main()
