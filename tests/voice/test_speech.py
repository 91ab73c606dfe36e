import base64
import io

import numpy as np
import pytest
import soundfile

from glottis.errors import InputError
from glottis.voice import Mark, Speech

RATE = 8000


def speech(seconds, *marks, rate=RATE, text=""):
    samples = np.linspace(-0.5, 0.5, int(seconds * rate), dtype=np.float32)
    return Speech(samples, rate, marks, text)


def test_joining_puts_audio_and_marks_one_after_another():
    first = speech(1.0, Mark("word", "a", 0.1, 0.4), text="a")
    second = speech(0.5, Mark("word", "b", 0.0, 0.5), text="b")
    joined = Speech.join(iter([first, second]))
    assert joined.duration == 1.5
    assert joined.text == "a b"
    assert joined.marks == (Mark("word", "a", 0.1, 0.4), Mark("word", "b", 1.0, 1.5))
    np.testing.assert_array_equal(joined.samples[RATE:], second.samples)


def test_joining_different_rates_or_nothing_is_refused():
    with pytest.raises(InputError, match="8000, 16000"):
        Speech.join([speech(1), speech(1, rate=16000)])
    with pytest.raises(InputError):
        Speech.join([])


def test_marks_are_found_by_kind():
    marks = (Mark("sentence", "a.", 0, 1), Mark("word", "a", 0, 1), Mark("phoneme", "ɐ", 0, 0.5))
    assert speech(1, *marks).words == marks[1:2]
    assert speech(1, *marks).phonemes == marks[2:]


def test_saving_and_the_notebook_player_hold_the_same_audio(tmp_path):
    spoken = speech(0.5, text="a <b>")
    spoken.save(tmp_path / "a.wav")
    page = spoken._repr_html_()
    data = base64.b64decode(page.split("base64,")[1].split('"')[0])
    played, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    saved, _ = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(played, saved, atol=1 / 32000)
    np.testing.assert_allclose(saved, spoken.samples, atol=1 / 32000)
    assert "a &lt;b&gt;" in page
