"""The command line: one verb a function; each imports what it needs when it runs.

Bad input ends with one line on stderr and status 2, Ctrl-C with 130, a reader of the output that
goes away with 141, a missing extra with the command that installs it. ``--debug`` anywhere on the
line shows the traceback instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glottis import __version__
from glottis.errors import InputError
from glottis.signals import tidy_when_ended

if TYPE_CHECKING:
    from glottis.corpus.prepare import PrepareConfig
    from glottis.export import Storage
    from glottis.voice import Speech, Voice

app = typer.Typer(
    name="glottis",
    help="Recordings to voices, voices to speech.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# What a missing module belongs to, so that the message can name the extra.
EXTRAS = {
    **dict.fromkeys(
        ("torch", "lightning", "lhotse", "numba", "onnx", "safetensors", "tensorboard", "yaml"),
        "train",
    ),
    **dict.fromkeys(("jiwer", "pocketsphinx", "speechmos", "matplotlib"), "evaluate"),
    **dict.fromkeys(("starlette", "uvicorn", "python_multipart"), "serve"),
}

LEAD = 0.5
"""Seconds that are made first where somebody waits to hear; the whole takes less to make."""

VoiceOption = Annotated[
    str | None,
    typer.Option("--voice", "-v", help="A name from 'glottis voices', or the path of a .onnx."),
]
SpeakerOption = Annotated[
    str | None, typer.Option("--speaker", "-s", help="One of the voice's speakers.")
]
CorpusArgument = Annotated[
    Path, typer.Argument(help="Folder with a transcript table and recordings.")
]
OnlySpeakerOption = Annotated[
    str | None, typer.Option("--speaker", "-s", help="Name of a corpus's only speaker.")
]
LanguageOption = Annotated[
    str | None, typer.Option("--language", "-l", help="espeak-ng's code, such as en-us.")
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", help="Processes; all processors by default.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings; a wrong key lists the known ones."),
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"glottis {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; valid anywhere.")
    ] = False,
) -> None:
    pass


@app.command()
def speak(
    text: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|FILE|-",
            help="What to say, the name of a UTF-8 text file, or - for standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|-",
            help="Where to write: .wav, .flac, .ogg (Vorbis), .opus or .mp3; - streams raw PCM "
            "(s16le, mono) to standard output. Without -o and --play: speech.wav.",
        ),
    ] = None,
    voice: VoiceOption = None,
    speaker: SpeakerOption = None,
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", help="One of the voice's; the speaker's by default."),
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", "-r", help="Speed: 0.25 (slow) to 4 (fast).")
    ] = 1.0,
    pitch: Annotated[
        float, typer.Option("--pitch", help="Factor on the pitch: 0.5 to 2 (parametric voices).")
    ] = 1.0,
    timbre: Annotated[
        float,
        typer.Option("--timbre", help="Factor on the formants: 0.7 to 1.4 (parametric voices)."),
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed gives the same audio.")
    ] = None,
    play: Annotated[
        bool, typer.Option("--play", help="Play it; without -o nothing is written.")
    ] = False,
    ssml: Annotated[
        bool | None,
        typer.Option(
            "--ssml/--plain",
            help="Read TEXT as SSML, or tags as plain text. By default text that starts with "
            "<speak is SSML.",
        ),
    ] = None,
    pause: Annotated[
        float, typer.Option("--pause", help="Seconds of silence between sentences.")
    ] = 0.25,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="Pronunciations that win over the front end.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Processor threads.")] = 1,
) -> None:
    """Speak a text: to a sound file, a pipe or the loudspeaker.

    Long text is spoken sentence by sentence and written as it is made; the file takes its name
    when it is complete.
    """
    from glottis.voice import Voice

    if output is None and not play:
        output = "speech.wav"
    words = _text(text)
    if output not in (None, "-"):
        from glottis.audio.files import codec

        assert output is not None
        codec(output)  # An unknown suffix should be told before any work is done.
    chosen = Voice.load(voice, threads=threads, lexicon=lexicon)
    with _progress() as progress, ExitStack() as sinks:
        chunks = chosen.stream(
            words,
            speaker=speaker,
            language=language,
            rate=rate,
            pitch=pitch,
            timbre=timbre,
            seed=seed,
            ssml=ssml,
            pause=pause,
            lead=LEAD if play or output == "-" else 0.0,
            progress=progress,
        )
        _deliver(chunks, chosen, output, play, sinks)


def _deliver(
    chunks: Iterator[Speech], voice: Voice, output: str | None, play: bool, stack: ExitStack
) -> None:
    """Send each chunk to every place that wants it; places open when the first chunk is there."""
    sinks: list[Any] = []
    samples = 0
    for chunk in chunks:
        if not sinks:
            if output == "-":
                from glottis.audio.files import PcmSink

                if sys.stdout.isatty():
                    raise InputError(
                        "-o - writes raw audio, and standard output is a terminal; pipe it, for "
                        f"example: | aplay -t raw -f S16_LE -c 1 -r {voice.sample_rate}"
                    )
                _say(f"raw PCM: s16le, mono, {voice.sample_rate} Hz")
                sinks.append(PcmSink(sys.stdout.buffer))
            elif output is not None:
                from glottis.audio.files import writing

                sinks.append(stack.enter_context(writing(output, voice.sample_rate)))
            if play:
                from glottis.audio.playback import playing

                sinks.append(stack.enter_context(playing(voice.sample_rate)))
        for sink in sinks:
            sink.write(chunk.samples)
        samples += len(chunk.samples)
    stack.close()
    if output not in (None, "-"):
        _say(f"{output}: {samples / voice.sample_rate:.2f} s, voice {voice.name}")


def _text(argument: str) -> str:
    """The text that the command line means: the argument itself, a file's content, or stdin."""
    if argument == "-":
        data, where = sys.stdin.buffer.read(), "standard input"
    elif os.path.isfile(argument):
        data, where = Path(argument).read_bytes(), argument
    elif _means_a_file(argument):
        raise InputError(
            f"there is no text file {argument}; to speak the words, pipe them to 'glottis speak -'"
        )
    else:
        return argument
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where} is not UTF-8: byte {error.start} is {data[error.start]:#04x}; "
            "convert it, for example: iconv -f latin1 -t utf-8"
        ) from error


def _means_a_file(argument: str) -> bool:
    """Whether an argument that names no file was meant to, rather than to be spoken.

    It is one line with a text file's suffix, or a word that begins as a path does or is in a folder
    that exists: ``my notes.txt`` and ``./x``, but not ``and/or`` or a sentence with a slash.
    """
    if argument.lower().endswith((".txt", ".md", ".ssml", ".xml")):
        return "\n" not in argument
    if len(argument.split()) != 1:
        return False
    folder = os.path.dirname(argument)
    return argument.startswith(("/", "./", "../", "~/")) or bool(folder and os.path.isdir(folder))


@app.command()
def voices() -> None:
    """List the installed voices: languages, speakers, size, licence."""
    from glottis.voices import folders, installed

    found = installed()
    if not found:
        raise InputError(
            "no voice is installed. Put NAME.onnx and NAME.onnx.json into one of: "
            + ", ".join(map(str, folders()))
        )
    rows = [("Voice", "Language", "Speakers", "Size", "Licence", "Where")]
    for voice in found:
        names = list(voice.speakers)
        shown = ", ".join(names[:6]) + (f" ... ({len(names)})" if len(names) > 6 else "")
        rows.append(
            (
                voice.name,
                ", ".join(voice.languages) or voice.language,
                shown or "1",
                f"{voice.size / 1e6:.1f} MB",
                voice.license or "not stated",
                voice.problem or str(voice.path.parent),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


@app.command()
def serve(
    settings: Settings = None,
    voice: Annotated[
        list[str] | None,
        typer.Option(
            "--voice",
            "-v",
            help="As of 'speak', or NAME=VOICE; may be repeated, the default first. All installed "
            "ones by default.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8000,
    threads: Annotated[int, typer.Option("--threads", help="Processors for a sentence.")] = 1,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Sentences at once; by the processors.")
    ] = None,
) -> None:
    """Serve voices over HTTP: OpenAI's speech endpoint, times of words, conversion, a web page.

    GLOTTIS_API_KEY in the environment is a key that every request must then show.
    """
    from glottis.config import build, override
    from glottis.serve import ServeConfig, run

    named = {"voices": voice or [], "host": host, "port": port, "threads": threads, "jobs": jobs}
    run(build(ServeConfig, override(named, settings or []), "serve"))


@app.command()
def prepare(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the prepared corpus.")],
    settings: Settings = None,
    speaker: OnlySpeakerOption = None,
    language: LanguageOption = None,
    jobs: JobsOption = None,
) -> None:
    """Prepare a corpus for training: resample, trim, level, phonemes, features.

    Run it again to continue where it was interrupted.
    """
    from glottis.corpus.prepare import prepare as run

    config = _preparation("prepare", settings, speaker, language)
    with _progress("preparing") as progress:
        summary = run(corpus, out, config=config, jobs=jobs, progress=progress)
    print(summary)


def _preparation(
    verb: str, settings: list[str] | None, speaker: str | None, language: str | None
) -> PrepareConfig:
    from glottis.config import build, override
    from glottis.corpus.prepare import PrepareConfig

    values = override({}, settings or [])
    for name, value in (("speaker", speaker), ("language", language)):
        if value is not None:
            values[name] = value
    config: PrepareConfig = build(PrepareConfig, values, verb)
    return config


@app.command()
def doctor(
    corpus: CorpusArgument,
    settings: Settings = None,
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="Also write the report as JSON.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder for pictures of the distributions.")
    ] = None,
    speaker: OnlySpeakerOption = None,
    language: LanguageOption = None,
    jobs: JobsOption = None,
) -> None:
    """Report what in a corpus will hurt, before any training.

    With the settings that it will be prepared with. Status 1 when it cannot be used as it is.
    """
    from glottis.corpus.doctor import examine

    config = _preparation("doctor", settings, speaker, language)
    with _progress("examining") as progress:
        report = examine(corpus, config=config, jobs=jobs, progress=progress)
    if json not in (None, "-"):
        from glottis.files import replacing

        assert json is not None
        with replacing(json) as temporary:
            temporary.write_text(report.json(), encoding="utf-8")
    if pictures is not None:
        report.pictures(pictures)
    print(report.json() if json == "-" else report)
    if not report.usable:
        raise typer.Exit(1)


@app.command()
def align(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the times.")],
    settings: Settings = None,
    language: LanguageOption = None,
    jobs: JobsOption = None,
) -> None:
    """Find where each word and phone is said: TextGrid, CTM and HTS labels.

    The aligner is trained on this corpus alone.
    """
    from glottis.config import build, override
    from glottis.corpus.forced_alignment import AlignConfig, align_corpus

    values = override({}, settings or [])
    if language is not None:
        values["language"] = language
    with _progress("aligning") as progress:
        summary = align_corpus(
            corpus, out, config=build(AlignConfig, values, "align"), jobs=jobs, progress=progress
        )
    print(summary)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a .yaml file.")],
    data: Annotated[
        list[Path], typer.Option("--data", "-d", help="A prepared corpus; may be repeated.")
    ],
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; runs/RECIPE by default.")
    ] = None,
) -> None:
    """Train a model; continues when the run folder exists.

    Ctrl-C, or a kill at any moment, loses no more than the steps since the last checkpoint.
    """
    from glottis.training.run import train as run

    print(run(recipe, data, settings or [], out))


@app.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(help="A checkpoint: .pth, .pt, .ckpt, g_*.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The run folder to make.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The settings that belong to it; beside SOURCE by default."),
    ] = None,
    language: LanguageOption = None,
) -> None:
    """Turn a checkpoint that somebody else has trained into a run folder.

    VITS of its authors or of Piper's training, Glow-TTS, Grad-TTS, HiFi-GAN, wavenet_vocoder and
    NVIDIA's Tacotron 2 are told by their weights. Nothing in the file is executed.
    """
    from glottis.originals import import_original

    imported = import_original(source, output, config=config, language=language)
    _say(imported.found)
    print(imported.folder)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The run folder of an acoustic model.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The voice file, NAME.onnx.")],
    settings: Settings = None,
    vocoder: Annotated[
        Path | None, typer.Option("--vocoder", help="The run folder of a vocoder.")
    ] = None,
    weights: Annotated[
        str, typer.Option("--weights", help="How weights are stored: float32, float16 or int8.")
    ] = "float16",
    name: Annotated[
        str | None, typer.Option("--name", help="The voice's name; the file's by default.")
    ] = None,
    license: Annotated[
        str | None, typer.Option("--license", help="What the voice may be used for.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="How much chance the voice speaks with; else 0.667."),
    ] = None,
    duration_temperature: Annotated[
        float | None,
        typer.Option(
            "--duration-temperature", help="The same for durations that are drawn; else 0.8."
        ),
    ] = None,
    conversion: Annotated[
        bool,
        typer.Option("--conversion", help="Also what 'convert' needs, in the same file."),
    ] = False,
) -> None:
    """Export a trained run as one voice file, checked against torch before it is written.

    KEY=VALUE changes what of the network can still be chosen: n_timesteps=4 solver=dpm2 of
    Grad-TTS.
    """
    choices: dict[str, Storage] = {"float32": "float32", "float16": "float16", "int8": "int8"}
    if weights not in choices:
        raise InputError(f"--weights does not take {weights!r}. Choices: {', '.join(choices)}")
    from glottis.export import export_voice

    path = export_voice(
        run,
        output,
        vocoder=vocoder,
        weights=choices[weights],
        name=name,
        license=license,
        noise_scale=temperature,
        noise_w=duration_temperature,
        settings=settings or [],
        conversion=conversion,
    )
    print(path)


@app.command()
def prune(
    run: Annotated[Path, typer.Argument(help="A trained run folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to make.")],
    hidden: Annotated[
        int, typer.Option("--hidden", help="Hidden channels of its ConvNeXt blocks from now on.")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Prepared corpora to listen to; the run's by default."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="How much speech to hear.")] = 600.0,
    part: Annotated[str, typer.Option("--part", help="Such as content.decoder; else all.")] = "",
) -> None:
    """Make a trained network quicker: leave out hidden channels that others can make up for."""
    from glottis.training.prune import prune_run

    lost = prune_run(run, out, hidden, part=part, data=data or [], seconds=seconds)
    for block, error in lost.items():
        _say(f"{block}: {100 * error:.2f}% of its output's power lost")
    print(out)


@app.command()
def convert(
    recording: Annotated[Path, typer.Argument(help="A sound file of one of the speakers.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The sound file to write.")],
    voice: Annotated[
        str,
        typer.Option(
            "--voice",
            "-v",
            help="A voice exported with --conversion, the run folder of a VITS, or what 'train "
            "conversion' made.",
        ),
    ],
    source: Annotated[str, typer.Option("--from", help="Who speaks in the recording.")],
    target: Annotated[str, typer.Option("--to", help="Who shall.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same audio.")] = 0,
) -> None:
    """Say a recording again with another speaker's voice: the same words, at the same times."""
    from glottis.audio.files import codec, write
    from glottis.conversion import conversion_file, convert_by_file
    from glottis.conversion import convert as run

    codec(output)  # An unknown suffix should be told before any work is done.
    if file := conversion_file(Path(voice)):
        samples, rate = convert_by_file(file, recording, source, target, seed=seed)
    elif Path(voice).is_dir():
        samples, rate = run(Path(voice), recording, source, target, seed=seed)
    else:
        from glottis.voice import Voice

        speech = Voice.load(voice).convert(recording, source=source, target=target, seed=seed)
        samples, rate = speech.samples, speech.sample_rate
    write(output, samples, rate)
    _say(f"{output}: {len(samples) / rate:.2f} s, {source} as {target}")


@app.command()
def evaluate(
    voice: Annotated[
        str,
        typer.Argument(
            help="A voice's name, the path of a .onnx, or a vocoder's run folder (with --data)."
        ),
    ],
    texts: Annotated[
        Path | None, typer.Option("--texts", help="A file with one sentence a line.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="A prepared corpus, for references.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the report: JSON and HTML.")
    ] = None,
    speaker: SpeakerOption = None,
    limit: Annotated[
        int, typer.Option("--limit", help="At most so many sentences, chosen by chance.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of the choice and of the voice.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Processes that judge.")] = 1,
) -> None:
    """Measure a voice: word errors, predicted opinion scores, speed; with references, distances.

    DIR/report.html has spectrograms and players, DIR/report.json all numbers.
    """
    if (texts is None) == (data is None):
        raise InputError("give either --texts FILE or --data DIR")
    from glottis.evaluation.run import evaluate as run

    with _progress("evaluating") as progress:
        report = run(
            voice,
            texts=texts,
            data=data,
            out=out,
            speaker=speaker,
            limit=limit,
            seed=seed,
            jobs=jobs,
            progress=progress,
        )
    print(report)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: -> exit status. ``argv`` without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        status = _run(words)
        # A reader that has gone should be noticed here, not when Python ends.
        print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _hang_up()
    except Exception as error:
        if debug:
            raise
        message = _message(error)
        if message is None:
            raise
        _say(f"glottis: {message}")
        return 2
    return status


def _run(words: Sequence[str]) -> int:
    """Run the verb: -> exit status. Click's own errors are told; others pass."""
    try:
        with tidy_when_ended():
            app(args=words, prog_name="glottis")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # which click would end with 1
            raise end.__context__ from None
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _message(error: Exception) -> str | None:
    """What to tell the user; none when the mistake is ours and a traceback is due."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = EXTRAS.get(error.name.partition(".")[0])
        if extra:
            return f"this needs {error.name}, which is missing: pip install 'glottis[{extra}]'"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None


def _hang_up() -> int:
    """The reader of our output has gone; leave without a word, as ``head`` expects."""
    # Python flushes stdout once more at exit and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@contextmanager
def _progress(what: str = "speaking") -> Iterator[Callable[[int, int], None]]:
    """Give ``progress(done, total)``: a bar on a terminal's stderr once work takes long."""
    import time

    started = time.monotonic()
    bar: Any = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            if time.monotonic() - started < 1.5 or done >= total or not sys.stderr.isatty():
                return
            from tqdm import tqdm

            bar = tqdm(desc=what, total=total, file=sys.stderr, leave=False)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


if __name__ == "__main__":
    sys.exit(main())
