"""Tacotron 2 beside NVIDIA's: ``python benchmarks/tacotron2.py PATH``.

``PATH`` is a checkout of github.com/NVIDIA/tacotron2. Both hold the same random weights of full
size, read from a checkpoint as its training writes it. With the pre-net's dropout off, which is
drawn differently, log-mels, stop logits and attention under teacher forcing must agree to 1e-4;
then a training step of both is timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import torch

from glottis.corpus.batches import UtteranceBatch
from glottis.export import load_run
from glottis.originals import import_original
from harness import Claim, compare

SIZES = {
    "mask_padding": False,
    "fp16_run": False,
    "n_mel_channels": 80,
    "n_frames_per_step": 1,
    "n_symbols": 148,
    "symbols_embedding_dim": 512,
    "encoder_kernel_size": 5,
    "encoder_n_convolutions": 3,
    "encoder_embedding_dim": 512,
    "decoder_rnn_dim": 1024,
    "prenet_dim": 256,
    "max_decoder_steps": 1000,
    "gate_threshold": 0.5,
    "p_attention_dropout": 0.1,
    "p_decoder_dropout": 0.1,
    "attention_rnn_dim": 1024,
    "attention_dim": 128,
    "attention_location_n_filters": 32,
    "attention_location_kernel_size": 31,
    "postnet_embedding_dim": 512,
    "postnet_kernel_size": 5,
    "postnet_n_convolutions": 5,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--frames", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(arguments.path))
    for name in ("librosa", "librosa.filters", "audio_processing", "stft", "utils"):
        sys.modules[name] = MagicMock()  # features and files, of which the network needs nothing
    sys.modules["utils"].get_mask_from_lengths = lambda lengths: (
        torch.arange(int(lengths.max())) < lengths[:, None]
    )
    import model as theirs

    torch.manual_seed(0)
    peer = theirs.Tacotron2(SimpleNamespace(**SIZES)).eval()
    with torch.no_grad():  # statistics as if it had been trained
        for module in peer.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint"
        torch.save({"iteration": 1, "state_dict": peer.state_dict(), "learning_rate": 1e-3}, path)
        ours = load_run(import_original(path, Path(folder) / "run").folder)[0]

    batch, symbols, frames = 8, 60, arguments.frames
    text = torch.randint(1, 148, (batch, symbols))
    mel = torch.randn(batch, 80, frames) - 5
    lengths, mel_lengths = torch.full((batch,), symbols), torch.full((batch,), frames)
    names = [str(i) for i in range(batch)]
    speaker = torch.zeros(batch, dtype=torch.long)
    given = UtteranceBatch(names, text, lengths, mel, mel_lengths, speaker)
    inputs = (text, lengths, mel, symbols, mel_lengths)

    dropout = theirs.F.dropout
    theirs.F.dropout = lambda x, *_, **__: x
    ours.decoder.prenet.dropout = 0.0
    with torch.no_grad():
        expected, found = peer(inputs), ours.predict(given)[0]
    theirs.F.dropout, ours.decoder.prenet.dropout = dropout, 0.5
    pairs = zip(expected, (*found[:3], found.attention.transpose(1, 2)), strict=True)
    errors = [float((a - b).abs().max()) for a, b in pairs]
    print("largest differences (before, after, stop, attention):", errors)
    assert max(errors) < 1e-4, "the answers differ, so no speed is reported"

    def their_step() -> None:
        peer.train().zero_grad()
        before, after, stop, _ = peer(inputs)
        gate = torch.zeros_like(stop)
        gate[:, -1] = 1
        loss = torch.nn.functional.mse_loss(before, mel) + torch.nn.functional.mse_loss(after, mel)
        loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(stop, gate)
        loss.backward()

    def our_step() -> None:
        ours.train().zero_grad()
        for _, loss, _ in ours.steps(given, 0):
            loss.backward()

    compare(
        Claim(
            f"Tacotron 2 training step, NVIDIA's size, {batch} x {frames} frames",
            "python benchmarks/tacotron2.py PATH",
            "NVIDIA/tacotron2",
        ),
        our_step,
        their_step,
        lambda *_: True,  # compared above, without dropout
        repeats=3,
        threads=1,
    )


if __name__ == "__main__":
    main()
