"""Beside the authors' own code, same random weights: ``python benchmarks/originals.py MODEL PEER``.

``MODEL`` is glow_tts, grad_tts or hifi_gan and ``PEER`` a checkout of jaywalnut310/glow-tts,
of Grad-TTS in huawei-noah/Speech-Backbones, or of jik876/hifi-gan. Each model of theirs is made
with random weights (those that start at zero included), saved as its authors save it, imported
with ``glottis import``, and both are given the same input: outputs and losses must agree to 1e-4.
``--time`` measures both as well and writes rows of RESULTS.md.

What the peers import for reading audio, plotting and compiled searches is replaced by empty
modules; Grad-TTS needs ``einops``. One model a process: the peers share module names.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import subprocess
import sys
import tempfile
import types
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glottis.alignment import path as dense_path
from glottis.corpus.batches import UtteranceBatch
from glottis.export import load_run
from glottis.kernels import mas
from glottis.originals import import_original
from harness import Claim, compare

TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("model", choices=["glow_tts", "grad_tts", "hifi_gan"])
    parser.add_argument("peer", type=Path)
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.path.insert(0, str(given.peer))
    with tempfile.TemporaryDirectory() as folder:
        check = {"glow_tts": glow_tts, "grad_tts": grad_tts, "hifi_gan": hifi_gan}[given.model]
        check(given.peer, Path(folder), given.time)


def agree(what: str, ours: Tensor, theirs: Tensor) -> None:
    """Print the largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape, f"{what}: {list(ours.shape)} and {list(theirs.shape)}"
    scale = float(theirs.detach().abs().max())
    assert 0 < scale < float("inf"), f"{what}: nothing to compare"
    difference = float((ours - theirs).detach().abs().max()) / scale
    print(f"{what:<66} {difference:.1e}", flush=True)
    assert difference <= TOLERANCE, f"{what} differs by {difference:.2g}"


def stand_in(name: str, **attributes: Any) -> None:
    """A module that the peer imports and this comparison does not use."""
    module = types.ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module


def randomize(model: torch.nn.Module, spread: float = 0.02) -> None:
    """Move every weight a little, so that nothing that starts at zero hides a difference."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn_like(parameter))


def utterances(speakers: int, symbols: int, mels: int, frames: tuple[int, ...]) -> UtteranceBatch:
    generator = torch.Generator().manual_seed(2)
    lengths = torch.tensor(frames)
    text_lengths = lengths // 6
    text = torch.randint(0, symbols, (len(frames), int(text_lengths.max())), generator=generator)
    inside = torch.arange(text.shape[1]) < text_lengths[:, None]
    mel = torch.randn(len(frames), mels, int(lengths.max()), generator=generator) * 2 - 5
    mel = torch.where((torch.arange(mel.shape[2]) < lengths[:, None])[:, None], mel, 0.0)
    speaker = torch.randint(0, speakers, (len(frames),), generator=generator)
    names = [str(i) for i in range(len(frames))]
    return UtteranceBatch(names, text * inside, text_lengths, mel, lengths, speaker)


def revision(peer: Path) -> str:
    command = ["git", "-C", str(peer), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def glow_tts(peer: Path, folder: Path, timed: bool) -> None:
    importlib.import_module("numba")  # ours; it looks for a scipy and must not find the empty one
    for name in ("scipy", "stft"):
        stand_in(name, STFT=None)
    stand_in("librosa")
    stand_in("librosa.filters", mel=None)
    stand_in("audio_processing", dynamic_range_compression=None, dynamic_range_decompression=None)
    stand_in("monotonic_align")
    commons = importlib.import_module("commons")
    sys.modules["monotonic_align"].maximum_path = commons.maximum_path
    models = importlib.import_module("models")
    base = json.loads((peer / "configs" / "base.json").read_text())
    for case, changes in {
        "base.json": {},
        "small, all options turned": {
            "mean_only": False,
            "prenet": False,
            "sigmoid_scale": True,
            "dilation_rate": 2,
            "n_split": 8,
            "n_sqz": 4,
            "n_speakers": 3,
            "gin_channels": 16,
            "n_blocks_dec": 3,
            "hidden_channels_dec": 64,
            "n_layers_enc": 2,
        },
    }.items():
        torch.manual_seed(0)
        settings = {**base, "model": {**base["model"], **changes}}
        theirs = models.FlowGenerator(50, out_channels=80, **settings["model"]).eval()
        randomize(theirs)
        place = folder / case.replace(" ", "-")
        place.mkdir()
        torch.save({"model": theirs.state_dict(), "iteration": 1}, place / "G_1.pth")
        (place / "config.json").write_text(json.dumps(settings))
        ours, _ = load_run(import_original(place / "G_1.pth", place / "run").folder)
        speakers = changes.get("n_speakers", 1)
        batch = utterances(speakers, 50, 80, (120, 96))  # type: ignore[arg-type]
        given = batch.speaker if speakers > 1 else None  # type: ignore[operator]
        with torch.no_grad():
            (z, z_mean, z_scale, ladj, mask), _, (found, logw, logw_) = theirs(
                batch.text, batch.text_lengths, batch.mel, batch.mel_lengths, g=given
            )
            aligned = ours.align(batch)
            embedded = ours._speaker(batch.speaker)
            latent, ours_ladj = ours.decoder.call_and_ladj(batch.mel, mask.bool(), embedded)
            agree(f"glow_tts, {case}: latents", latent, z)
            agree(f"glow_tts, {case}: log-determinants", ours_ladj, ladj)
            assert torch.equal(aligned.durations, found.sum(3).squeeze(1).long())
            agree(f"glow_tts, {case}: log durations", aligned.log_durations, logw.squeeze(1))
            mle = commons.mle_loss(z, z_mean, z_scale, ladj, mask)
            _, logs = ours._losses(batch)
            agree(f"glow_tts, {case}: likelihood loss", logs["nats_per_frame"] / 80, mle)
            length = commons.duration_loss(logw, logw_, batch.text_lengths)
            agree(f"glow_tts, {case}: duration loss", logs["duration"], length)
            mel, _ = theirs.decoder(
                z,
                mask,
                g=embedded,
                reverse=True,
            )
            agree(
                f"glow_tts, {case}: log-mels of latents",
                ours.decoder.inverse(z, mask.bool(), embedded),
                mel,
            )
            inside = (torch.arange(logw.shape[2]) < batch.text_lengths[:, None])[:, None]
            theirs_frames = torch.ceil(torch.exp(logw) * inside).squeeze(1).long()
            frames = ours.predict_durations(aligned.log_durations, inside, 1.0)
            assert torch.equal(frames, theirs_frames)
    if timed:
        torch.manual_seed(0)
        theirs = models.FlowGenerator(50, out_channels=80, **base["model"]).train()
        ours, _ = load_run(folder / "base.json" / "run")
        ours.train()
        batch = utterances(1, 50, 80, (600, 560, 520, 480))

        def step_theirs() -> Tensor:
            (z, m, s, ladj, mask), _, (_, logw, logw_) = theirs(
                batch.text, batch.text_lengths, batch.mel, batch.mel_lengths
            )
            loss = commons.mle_loss(z, m, s, ladj, mask)
            loss = loss + commons.duration_loss(logw, logw_, batch.text_lengths)
            loss.backward()
            return loss

        def step_ours() -> Tensor:
            ((_, loss, _),) = ours.steps(batch, 10**6)
            loss.backward()
            return loss

        compare(
            Claim(
                "Glow-TTS training step, paper's size, 4 x 6 s, one thread",
                "python benchmarks/originals.py glow_tts PEER --time",
                f"jaywalnut310/glow-tts {revision(peer)}, its numpy search",
            ),
            step_ours,
            step_theirs,
            lambda a, b: bool(torch.isfinite(a) and torch.isfinite(b)),
            repeats=3,
            threads=1,
        )


def grad_tts(peer: Path, folder: Path, timed: bool) -> None:
    def maximum_path(value: Tensor, mask: Tensor) -> Tensor:
        durations = mas(value, mask[:, :, 0].sum(1).long(), mask[:, 0].sum(1).long())
        return dense_path(durations, value.shape[2]).to(value.dtype)

    # A package of theirs whose search has to be compiled; searches are compared in mas.py.
    stand_in("model.monotonic_align", maximum_path=maximum_path)
    tts = importlib.import_module("model.tts")
    tree = ast.parse((peer / "params.py").read_text())
    params: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            params[node.targets[0].id] = node.value.value  # type: ignore[attr-defined]
    for case, changes in {
        "params.py": {},
        "several speakers, old time scale": {"n_spks": 5, "pe_scale": 1, "dec_dim": 32},
    }.items():
        torch.manual_seed(0)
        settings = {**params, **changes}
        order = (
            "n_spks spk_emb_dim n_enc_channels filter_channels filter_channels_dp n_heads "
            "n_enc_layers enc_kernel enc_dropout window_size n_feats dec_dim beta_min beta_max "
            "pe_scale"
        ).split()
        theirs = tts.GradTTS(149, *(settings[name] for name in order)).eval()
        randomize(theirs)
        place = folder / case.replace(" ", "-")
        place.mkdir()
        torch.save(theirs.state_dict(), place / "grad.pt")
        lines = [f"{name} = {value!r}" for name, value in settings.items()]
        (place / "params.py").write_text("import os\n" + "\n".join(lines) + "\nseed = os.sep * 2\n")
        ours, _ = load_run(import_original(place / "grad.pt", place / "run").folder)
        batch = utterances(settings["n_spks"], 149, 80, (64, 49))
        several = settings["n_spks"] > 1
        embedded = theirs.spk_emb(batch.speaker) if several else None
        with torch.no_grad():
            mu, logw, _ = theirs.encoder(batch.text, batch.text_lengths, embedded)
            found = ours.align(batch)
            agree(f"grad_tts, {case}: means", found.prior.mean, mu)
            agree(f"grad_tts, {case}: log durations", found.prior.log_durations, logw.squeeze(1))
            mask = (torch.arange(64) < batch.mel_lengths[:, None])[:, None]
            x, mean = torch.randn(2, *batch.mel.shape)
            t = torch.tensor([0.3, 0.8])
            score = theirs.decoder.estimator(x, mask.float(), mean, t, embedded)
            own = ours.score(x, mean, t, mask, embedded)
            agree(f"grad_tts, {case}: scores, with padding", own, score)

            torch.manual_seed(5)
            duration, prior, diffusion = theirs.compute_loss(
                batch.text,
                batch.text_lengths,
                batch.mel,
                batch.mel_lengths,
                spk=batch.speaker if several else None,
            )
            torch.manual_seed(5)
            _, logs = ours._losses(batch, torch.default_generator)
            agree(f"grad_tts, {case}: duration loss", logs["duration"], duration)
            agree(f"grad_tts, {case}: prior loss", logs["prior"], prior)
            agree(f"grad_tts, {case}: diffusion loss", logs["diffusion"], diffusion)

            one = mean[:1]
            start = one + torch.randn_like(one)
            speaker = None if embedded is None else embedded[:1]
            whole = torch.ones(1, 1, 64)
            from glottis.likelihood.diffusion import sample

            for solver, stochastic in (("euler", False), ("sde", True)):
                torch.manual_seed(6)
                drawn = theirs.decoder(start, whole, one, 10, stochastic, speaker)
                torch.manual_seed(6)
                mine = sample(
                    ours._score_of(one, None, speaker),
                    start,
                    one,
                    ours.config.schedule,
                    solver,  # type: ignore[arg-type]
                    10,
                    # They take the noise off, which is the same in distribution.
                    noise=lambda _, start=start: -torch.randn_like(start),
                )
                agree(f"grad_tts, {case}: 10 steps of {solver}", mine, drawn)
    if timed:
        ours, _ = load_run(folder / "params.py" / "run")
        torch.manual_seed(0)
        theirs = tts.GradTTS(149, *(params[name] for name in order)).eval()
        theirs.decoder.estimator.load_state_dict(
            {
                name.removeprefix("decoder.estimator."): value
                for name, value in torch.load(folder / "params.py" / "grad.pt").items()
                if name.startswith("decoder.estimator.")
            }
        )
        mean = torch.randn(1, 80, 432)
        start, mask = mean + torch.randn_like(mean), torch.ones(1, 1, 432)
        from glottis.likelihood.diffusion import sample

        def draw() -> Tensor:
            with torch.no_grad():
                score = ours._score_of(mean, None, None)
                return sample(score, start, mean, ours.config.schedule, "euler", 10)

        compare(
            Claim(
                "Grad-TTS, 10 Euler steps, paper's size, 5 s, torch, one thread",
                "python benchmarks/originals.py grad_tts PEER --time",
                f"huawei-noah/Speech-Backbones {revision(peer)}",
            ),
            draw,
            lambda: theirs.decoder(start, mask, mean, 10),
            lambda a, b: float((a - b).abs().max()) <= TOLERANCE * max(1, float(b.abs().max())),
            repeats=3,
            threads=1,
        )


def hifi_gan(peer: Path, folder: Path, timed: bool) -> None:
    stand_in("matplotlib", use=lambda _: None)
    stand_in("matplotlib.pylab")
    models = importlib.import_module("models")

    class Settings(dict):  # type: ignore[type-arg]
        __getattr__ = dict.__getitem__

    for version in ("v1", "v2", "v3"):
        torch.manual_seed(0)
        settings = Settings(json.loads((peer / f"config_{version}.json").read_text()))
        theirs = models.Generator(settings).eval()
        mpd, msd = (
            models.MultiPeriodDiscriminator().eval(),
            models.MultiScaleDiscriminator().eval(),
        )
        randomize(theirs, 0.005)
        place = folder / version
        place.mkdir()
        torch.save({"generator": theirs.state_dict()}, place / "g_00000001")
        torch.save({"mpd": mpd.state_dict(), "msd": msd.state_dict()}, place / "do_00000001")
        (place / "config.json").write_text(json.dumps(settings))
        ours, _ = load_run(import_original(place / "g_00000001", place / "run").folder)
        mel, audio = torch.randn(2, 80, 32) - 4, torch.randn(2, 1, 32 * 256) * 0.1
        with torch.no_grad():
            spoken = theirs(mel)
            agree(f"hifi_gan {version}: audio", ours(mel), spoken.squeeze(1))
            real, fake = ours.discriminators(audio.squeeze(1)), ours.discriminators(ours(mel))
            from glottis.blocks import discriminators as own

            judged = [model(audio, spoken) for model in (mpd, msd)]
            for name, mine, loss in (
                (
                    "discriminator",
                    own.discriminator_loss(real, fake, "sum"),
                    sum(models.discriminator_loss(r, g)[0] for r, g, _, _ in judged),
                ),
                (
                    "adversarial",
                    own.generator_loss(fake, "sum"),
                    sum(models.generator_loss(g)[0] for _, g, _, _ in judged),
                ),
                (
                    "feature",
                    2 * own.feature_matching_loss(real, fake, "sum"),
                    sum(models.feature_loss(fr, fg) for _, _, fr, fg in judged),
                ),
            ):
                agree(f"hifi_gan {version}: {name} loss", mine, loss)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
