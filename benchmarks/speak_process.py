"""``glottis speak`` beside Piper's command line: ``python benchmarks/speak_process.py [VOICE]``.

One sentence as a whole process (time, processor time, resident memory) and the real-time factor of
a paragraph on one core, loading left out. The peer speaks a random voice of the size of its medium
ones, built from its own network, and then our voice, so that the programs can be told from the
networks. Piper may live in another environment: ``--piper-python /path/to/its/bin/python``; the
network needs torch, in the environment that runs this script.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from glottis.audio.files import read
from glottis.voices import find
from harness import Claim, machine, record

SENTENCE = "Printing differs from most of the arts."
PARAGRAPH = (
    "Printing, in the only sense with which we are at present concerned, differs from most if not "
    "from all the arts and crafts represented in the exhibition. The invention of movable metal "
    "letters in the middle of the fifteenth century may justly be considered as the invention of "
    "the art of printing. And it is worth mention in passing that, as an example of fine "
    "typography, the earliest book printed has never been surpassed."
)
OURS_RTF = """
import json, sys, time
import glottis
voice = glottis.Voice.load(sys.argv[1], threads=1)
voice.speak("Warm up.", seed=0)
times = []
for seed in range(5):
    start = time.process_time()
    speech = voice.speak(sys.argv[2], seed=seed, pause=0)
    times.append((time.process_time() - start) / speech.duration)
print(json.dumps(min(times)))
"""
PIPER_RTF = """
import json, sys, time
from piper import PiperVoice
voice = PiperVoice.load(sys.argv[1])
list(voice.synthesize("Warm up."))
times = []
for _ in range(5):
    start = time.process_time()
    chunks = list(voice.synthesize(sys.argv[2]))
    seconds = sum(len(c.audio_float_array) / c.sample_rate for c in chunks)
    times.append((time.process_time() - start) / seconds)
print(json.dumps(min(times)))
"""


@dataclass(frozen=True)
class Run:
    """What one process took: seconds of wall clock and of processor, megabytes (10^6) resident."""

    wall: float
    processor: float
    resident: float


def run(command: list[str], output: Path) -> Run:
    """Run a command that says SENTENCE into ``output``; the audio is checked."""
    output.unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{' '.join(command)} ended with {process.returncode}"
    samples, rate = read(output)
    assert len(samples) > 0.3 * rate, f"{' '.join(command)} gave {len(samples) / rate:.2f} s"
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6)


def alternate(commands: list[list[str]], output: Path, repeats: int) -> list[Run]:
    """Medians over ``repeats`` runs of each command, taken in turn after one warm-up."""
    runs: list[list[Run]] = [[] for _ in commands]
    for number in range(repeats + 1):
        for command, row in zip(commands, runs, strict=True):
            result = run(command, output)
            if number:
                row.append(result)
    return [
        Run(*(statistics.median(getattr(r, field) for r in row) for field in Run.__annotations__))
        for row in runs
    ]


def real_time_factor(python: str, code: str, voice: Path) -> float:
    """Processor seconds a second of speech, the process held to one core."""
    core = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [python, "-c", code, str(voice), PARAGRAPH],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )
    return float(json.loads(done.stdout))


def random_piper_voice(python: str, path: Path) -> None:
    """Write a voice of Piper's medium size with random weights, from Piper's own network."""
    import torch

    where = subprocess.run(
        [python, "-c", "import piper; print(piper.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # Last on the path: only the network is wanted from the other environment.
    sys.path.append(str(Path(where).parent))
    from piper.train.vits.models import SynthesizerTrn

    torch.manual_seed(1)
    network = SynthesizerTrn(
        n_vocab=256,
        spec_channels=513,
        segment_size=32,
        inter_channels=192,
        hidden_channels=192,
        filter_channels=768,
        n_heads=2,
        n_layers=6,
        kernel_size=3,
        p_dropout=0.1,
        resblock="2",
        resblock_kernel_sizes=(3, 5, 7),
        resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
        upsample_rates=(8, 8, 4),
        upsample_initial_channel=256,
        upsample_kernel_sizes=(16, 16, 8),
        n_speakers=1,
        use_sdp=True,
    ).eval()

    def forward(text, lengths, scales):  # type: ignore[no-untyped-def]
        audio = network.infer(
            text, lengths, noise_scale=scales[0], length_scale=scales[1], noise_scale_w=scales[2]
        )[0]
        return audio.unsqueeze(1)

    network.forward = forward
    with torch.no_grad():
        network.dec.remove_weight_norm()
        torch.onnx.export(
            network,
            (torch.randint(3, 150, (1, 50)), torch.tensor([50]), torch.tensor([0.667, 1, 0.8])),
            str(path),
            opset_version=15,
            input_names=["input", "input_lengths", "scales"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch", 1: "text"}, "output": {0: "batch", 3: "samples"}},
            dynamo=False,
        )
    from glottis.text.symbols import DEFAULT

    description = {
        "audio": {"sample_rate": 22050},
        "espeak": {"voice": "en-us"},
        "language": {"code": "en_US"},
        "inference": {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "num_symbols": 256,
        "num_speakers": 1,
        "speaker_id_map": {},
        "phoneme_id_map": DEFAULT.phoneme_id_map,
    }
    path.with_name(path.name + ".json").write_text(json.dumps(description), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("voice", nargs="?", help="ours; the default voice when left out")
    parser.add_argument("--piper-python", default=sys.executable)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        random_piper_voice(options.piper_python, options.build)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    voice = find(options.voice)
    python = options.piper_python
    version = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(m.version('piper-tts'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    command = "python benchmarks/speak_process.py"
    with tempfile.TemporaryDirectory(prefix="glottis-") as temporary:
        folder = Path(temporary)
        output = folder / "spoken.wav"
        peer = folder / "piper-medium-random.onnx"
        # In a process of its own: a child's peak memory counts what its parent held at the fork.
        subprocess.run(
            [sys.executable, __file__, "--piper-python", python, "--build", str(peer)], check=True
        )

        def ours(path: Path) -> list[str]:
            glottis = [sys.executable, "-m", "glottis.cli", "speak", SENTENCE]
            return [*glottis, "-o", str(output), "--voice", str(path)]

        def piper(path: Path) -> list[str]:
            text = folder / "sentence.txt"
            text.write_text(SENTENCE + "\n", encoding="utf-8")
            return [python, "-m", "piper", "-m", str(path), "-i", str(text), "-f", str(output)]

        commands = [ours(voice), piper(peer), piper(voice)]
        own, medium, same = alternate(commands, output, options.repeats)
        size = voice.stat().st_size / 1e6
        for name, other in (("medium size, random", medium), ("our voice", same)):
            peer_name = f"piper-tts {version}, {name}"
            what = f"one sentence, whole process, voice {voice.stem} ({size:.0f} MB)"
            for label, unit, a, b in (
                ("", "s", own.wall, other.wall),
                (", processor time", "s", own.processor, other.processor),
                (", resident", "MB", own.resident, other.resident),
            ):
                claim = Claim(f"{what}{label}, beside Piper with {name}", command, peer_name)
                digits = 0 if unit == "MB" else 2
                cells = f"{a:.{digits}f} {unit}", f"{b:.{digits}f} {unit}"
                record(claim, *cells, f"{b / a:.3g}x", machine())
        factor = real_time_factor(sys.executable, OURS_RTF, voice)
        for name, path in (("medium size, random", peer), ("our voice", voice)):
            other_factor = real_time_factor(python, PIPER_RTF, path)
            claim = Claim(
                f"real-time factor, voice {voice.stem}, beside Piper with {name}",
                command,
                f"piper-tts {version}, {name}",
            )
            cells = f"{factor:.4f}", f"{other_factor:.4f}"
            record(claim, *cells, f"{other_factor / factor:.3g}x", machine(1))


if __name__ == "__main__":
    main()
