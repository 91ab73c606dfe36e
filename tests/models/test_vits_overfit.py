"""VITS learns a handful of utterances: where each sound is, how it sounds, and who says it.

Each phoneme is a tone and its octave, which the two speakers mix in different shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from glottis.audio.mel import MelConfig
from glottis.corpus.batches import UtteranceBatch
from glottis.models.vits import VITS, Config

MEL = MelConfig(sample_rate=8000, fft_size=256, hop=64, mels=24, mel_high=4000.0)
TONES = (0.0, 300.0, 520.0, 800.0, 1150.0, 1600.0)
"""Of each phoneme id, in Hz; id 0 is the pad."""
OVERTONES = ((1.0, 0.1), (0.3, 1.0))
"""How loud a phoneme's tone and its octave are, by speaker."""
COUNT = 16
"""Utterances."""
CONFIG = Config(
    symbols=len(TONES),
    speakers=2,
    speaker_channels=8,
    latent=16,
    channels=32,
    filter_channels=64,
    encoder_layers=1,
    encoder_kernel=1,
    encoder_dropout=0.0,
    posterior_layers=3,
    couplings=2,
    coupling_layers=2,
    align_on="mel",
    alignment_steps=50,
    durations="deterministic",
    duration_dropout=0.0,
    window_frames=24,
    decoder="istft",
    decoder_channels=48,
    decoder_hidden=96,
    decoder_layers=2,
    periods=(2,),
    period_channels=(4,),
    waveform_channels=(),
    adversarial_from=10**6,
    mel=MEL,
)


def _utterances() -> tuple[UtteranceBatch, torch.Tensor]:
    """All of them, and the durations that they were made with, ``[batch, text]``."""
    random = torch.Generator().manual_seed(0)
    texts, durations, audio = [], [], []
    for index in range(COUNT):
        text = torch.randperm(len(TONES) - 1, generator=random) + 1
        frames = torch.randint(3, 9, text.shape, generator=random)
        samples = [
            sum(
                loud * torch.sin(2 * math.pi * TONES[token] * part * time / MEL.sample_rate)
                for part, loud in enumerate(OVERTONES[index % 2], 1)
            )
            for token, count in zip(text.tolist(), frames.tolist(), strict=True)
            for time in [torch.arange(count * MEL.hop)]
        ]
        texts.append(text)
        durations.append(frames)
        sound = torch.cat(samples)
        noise = torch.randn(sound.shape, generator=random)
        audio.append(0.2 * sound + 0.01 * noise)
    lengths = torch.stack(durations).sum(1)
    padded = torch.nn.utils.rnn.pad_sequence(audio, batch_first=True)
    model = VITS(CONFIG)
    mel = model.log_mel.of_magnitudes(model.log_mel.magnitudes(padded, lengths * MEL.hop))
    names = [f"u{index}" for index in range(COUNT)]
    tokens = torch.full((COUNT,), len(TONES) - 1)
    speaker = torch.arange(COUNT) % 2
    return (
        UtteranceBatch(names, torch.stack(texts), tokens, mel, lengths, speaker, audio=padded),
        torch.stack(durations),
    )


@pytest.fixture(scope="module")
def learnt() -> VITS:
    torch.manual_seed(0)
    batch, _ = _utterances()
    model = VITS(CONFIG).train()
    optimizer = torch.optim.AdamW(model.optimized()["generator"], 3e-3, (0.8, 0.99))
    for step in range(180):
        for _, loss, _ in model.steps(batch, step):
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
    return model.eval()


def _log_mel(model: VITS, audio: torch.Tensor) -> torch.Tensor:
    return model.log_mel(audio[None])[0]


def _share(model: VITS, audio: torch.Tensor, text: torch.Tensor, durations: torch.Tensor) -> float:
    """Of the frames, those whose loudest mel is that of their phoneme's tone or its octave."""
    turns = 2 * math.pi * torch.tensor(TONES)[:, None] * torch.arange(2048) / MEL.sample_rate
    places = [model.log_mel(torch.sin(k * turns))[:, :, 10].argmax(1) for k in (1, 2)]
    wanted = torch.repeat_interleave(text, durations)
    loudest = _log_mel(model, audio)[:, : len(wanted)].argmax(0)
    right = [(loudest - place[wanted]).abs() <= 1 for place in places]
    return float((right[0] | right[1]).float().mean())


def test_the_alignment_is_where_the_sounds_are(learnt: VITS) -> None:
    batch, truth = _utterances()
    with torch.no_grad():
        found = learnt.explain(batch).durations
    shares = []
    for ours, theirs in zip(found, truth, strict=True):
        tokens = torch.arange(len(ours))
        same = torch.repeat_interleave(tokens, ours) == torch.repeat_interleave(tokens, theirs)
        shares.append(float(same.float().mean()))
    # A window of analysis spans four frames, so that no border is sharp.
    assert min(shares) > 0.65
    assert sum(shares) / len(shares) > 0.8


def test_what_is_spoken_are_the_sounds_of_the_text(learnt: VITS) -> None:
    batch, truth = _utterances()
    generator = torch.Generator().manual_seed(1)
    audio, lengths, durations = learnt.synthesize(
        batch.text, batch.text_lengths, batch.speaker, temperature=0.3, generator=generator
    )
    for i, (samples, length) in enumerate(zip(audio, lengths.tolist(), strict=True)):
        assert _share(learnt, samples[:length], batch.text[i], durations[i]) > 0.8
    # How long they last was learnt as well, as far as the text can tell.
    assert float((durations - truth).abs().float().mean()) < 2.0


def test_conversion_to_the_same_speaker_returns_the_recording(
    learnt: VITS, record_property: Callable[[str, object], None]
) -> None:
    batch, truth = _utterances()
    lengths = batch.mel_lengths * MEL.hop
    generator = torch.Generator().manual_seed(2)
    same = learnt.convert(batch.audio, lengths, batch.speaker, batch.speaker, generator=generator)
    other = learnt.convert(
        batch.audio, lengths, batch.speaker, 1 - batch.speaker, generator=generator
    )
    near, far = [], []
    for i, length in enumerate(lengths.tolist()):
        recording = _log_mel(learnt, batch.audio[i, :length])
        near.append(float((_log_mel(learnt, same[i, :length]) - recording).abs().mean()))
        far.append(float((_log_mel(learnt, other[i, :length]) - recording).abs().mean()))
        # The other speaker says the same, at the same times.
        assert _share(learnt, other[i, :length], batch.text[i], truth[i]) > 0.8
    record_property("log-mel distance to the same speaker", max(near))
    record_property("log-mel distance to the other speaker", min(far))
    assert max(near) < 0.4
    assert max(near) < 0.6 * min(far)
