import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.audio import files
from glottis.errors import InputError

RATE = 22050
LOSSLESS = (".wav", ".flac")


def tone(seconds=0.5, rate=RATE, frequency=440.0):
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def loudest_frequency(samples, rate):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return np.argmax(spectrum) * rate / len(samples)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("suffix", files.CODECS)
def test_every_codec_keeps_duration_and_pitch_at_every_rate(tmp_path, suffix, rate):
    samples = tone(rate=rate)
    files.write(tmp_path / f"a{suffix}", samples, rate)
    read, found = files.read(tmp_path / f"a{suffix}")
    assert found == rate or suffix == ".opus"
    # An MP3 decoder may keep some of the codec's delay.
    assert len(read) / found == pytest.approx(0.5, abs=0.06 if suffix == ".mp3" else 0.001)
    assert loudest_frequency(read, found) == pytest.approx(440, abs=5)
    assert np.sqrt(np.mean(read**2)) == pytest.approx(0.5 / 2**0.5, rel=0.1)
    if suffix in LOSSLESS:
        assert np.abs(read - samples).max() <= 1 / 32767


@pytest.mark.parametrize("suffix", files.CODECS)
def test_written_in_pieces_is_the_same_file_as_written_at_once(tmp_path, suffix):
    samples = tone(1.0, rate=11000)
    files.write(tmp_path / f"whole{suffix}", samples, 11000)
    with files.writing(tmp_path / f"pieces{suffix}", 11000) as sink:
        for start in range(0, len(samples), 777):
            sink.write(samples[start : start + 777])
    whole, rate = files.read(tmp_path / f"whole{suffix}")
    pieces, same = files.read(tmp_path / f"pieces{suffix}")
    assert (len(whole), rate) == (len(pieces), same)
    # Vorbis extrapolates its first block from what the first write holds.
    np.testing.assert_allclose(pieces, whole, atol=1e-2)


def test_reading_resamples_and_mixes_channels(tmp_path):
    stereo = np.stack([tone(), np.zeros(RATE // 2, np.float32)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE)
    samples, rate = files.read(tmp_path / "a.wav", rate=16000)
    assert rate == 16000
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == 8000
    assert np.abs(samples).max() == pytest.approx(0.25, abs=0.02)


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    files.write(tmp_path / "a.wav", np.array([2.0, -2.0, 1.0, -1.0], np.float32), RATE)
    samples, _ = files.read(tmp_path / "a.wav")
    np.testing.assert_allclose(samples, [1, -1, 1, -1], atol=1e-4)


@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=50))
def test_pcm_is_little_endian_within_half_a_step(values):
    samples = np.array(values, np.float32)
    decoded = np.frombuffer(files.to_pcm16(samples), "<i2") / 32767
    # The product is made in float32, which knows a step to two thousandths.
    assert np.abs(decoded - np.clip(samples, -1, 1)).max() <= 0.502 / 32767


def refuse(path, *words):
    with pytest.raises(InputError) as error:
        files.read(path)
    assert str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_missing_empty_and_foreign_files_are_named(tmp_path):
    refuse(tmp_path / "none.wav", "No such file")
    refuse(tmp_path, "folder")
    (tmp_path / "zero.wav").touch()
    refuse(tmp_path / "zero.wav", "empty")
    (tmp_path / "text.wav").write_text("this is not sound")
    refuse(tmp_path / "text.wav", "not a sound file")
    soundfile.write(tmp_path / "header.wav", np.zeros(0), RATE)
    refuse(tmp_path / "header.wav", "no samples")


def test_a_stream_of_unknown_length_is_refused(tmp_path):
    path = tmp_path / "piped.flac"
    files.write(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    # The 36 bits of STREAMINFO that count samples; whoever writes to a pipe leaves zero.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    refuse(path, "does not say how long")


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus"])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    files.write(tmp_path / f"a{suffix}", tone(2.0), RATE)
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(data[: int(len(data) * share)])
    refuse(tmp_path / f"a{suffix}")


def test_a_streamed_wav_without_a_length_is_read(tmp_path):
    files.write(tmp_path / "a.wav", tone(), RATE)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    where = data.index(b"data") + 4
    data[where : where + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(files.read(tmp_path / "a.wav")[0]) == RATE // 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_neither_read_nor_written(tmp_path, bad):
    samples = tone()
    samples[100] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    refuse(tmp_path / "a.wav", "NaN")
    with pytest.raises(InputError, match="NaN"):
        files.write(tmp_path / "b.wav", samples, RATE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav"]


def test_unknown_suffix_lists_the_known(tmp_path):
    for name in ("a.xyz", "a"):
        with pytest.raises(InputError, match=r"\.wav, \.flac, \.ogg, \.opus, \.mp3"):
            files.write(tmp_path / name, tone(), RATE)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(InputError, match="no samples"):
        files.write(tmp_path / "a.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(InputError, match="mono"):
        files.write(tmp_path / "a.wav", np.zeros((10, 2), np.float32), RATE)
    with pytest.raises(InputError, match="positive"):
        files.write(tmp_path / "a.wav", tone(), 0)
    with pytest.raises(InputError, match="positive"):
        files.resample(tone(), RATE, 0)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")

    def interrupted():
        with files.writing(path, RATE) as sink:
            sink.write(tone())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, suffix):
    # A limit on file size fails a write just as a full disk does.
    code = f"""
import numpy as np
from glottis.audio.files import write
from glottis.errors import InputError
try:
    write({str(tmp_path / ("a" + suffix))!r}, np.random.default_rng(0).uniform(-1, 1, 400000)
          .astype(np.float32), 22050)
except InputError as error:
    print("told:", error)
"""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True
    )
    assert done.stdout.startswith("told: cannot write"), done.stderr
    assert not list(tmp_path.iterdir())


@settings(max_examples=30)
@given(st.integers(1, 3000), st.sampled_from([8000, 16000, 22050, 44100, 48000]))
def test_resampling_keeps_the_duration(length, target):
    resampled = files.resample(np.zeros(length, np.float32), RATE, target)
    assert abs(len(resampled) - length * target / RATE) <= 1


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("int16", "PCM_16"), ("int32", "PCM_32"), ("uint8", "PCM_U8"), ("float64", "DOUBLE")],
)
def test_samples_of_any_type_mean_what_they_mean_in_a_file(tmp_path, kind, subtype):
    wave = np.sin(np.arange(400) / 9.0)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype)
    samples = {
        "int16": lambda: soundfile.read(tmp_path / "a.wav", dtype="int16")[0],
        "int32": lambda: soundfile.read(tmp_path / "a.wav", dtype="int32")[0],
        "uint8": lambda: np.frombuffer((tmp_path / "a.wav").read_bytes()[-400:], np.uint8),
        "float64": lambda: wave,
    }[kind]()
    np.testing.assert_array_equal(files.as_float(samples), files.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize("wrong", [np.zeros(9, np.int64), np.zeros((9, 2)), np.full(9, np.nan)])
def test_what_is_no_sound_is_refused(wrong):
    with pytest.raises(InputError, match=r"int64|\(9, 2\)|NaN"):
        files.as_float(wrong)
