"""Laws of :mod:`glottis.evaluation.report`, its page and its pictures."""

import html.parser
import io
import json
import math
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from glottis.errors import InputError
from glottis.evaluation.pictures import compressed, picture
from glottis.evaluation.recognition import count_errors
from glottis.evaluation.report import (
    MEASURES,
    Estimate,
    Judgement,
    Report,
    Row,
    bootstrap,
    summarise,
    worst_first,
)
from glottis.evaluation.speed import Speed
from speechlike import vowel


def judgement(text, heard, p808=3.0, **scores):
    errors = count_errors(text, heard)
    rates = {"wer": errors.word_errors / errors.words, "cer": 0.1, "p808": p808}
    return Judgement(errors, {**rates, **scores})


def report():
    rows = [
        Row("a", "one two", "ada", 1.0, judgement("one two", "one two", mcd=5.0)),
        Row("b", "one <b>two</b> & 'three'", "ada", 2.0, judgement("one two", "one")),
        Row("c", "one", "", 0.0, judgement("one", ""), problem="the audio is <empty>"),
    ]
    return Report("Voice & co", rows, speed=[Speed(1, 0.5, 0.05, 0.012, 150.0)], about={"n": 3})


def test_the_mean_lies_in_its_interval_and_the_interval_shrinks_with_the_root():
    generator = np.random.default_rng(0)
    widths = []
    for count in (100, 400, 1600):
        estimate = bootstrap(generator.normal(3.0, 1.0, count).tolist())
        assert estimate.low <= estimate.mean <= estimate.high
        assert estimate.count == count
        widths.append(estimate.high - estimate.low)
        # 1.96 standard errors to each side
        assert widths[-1] == pytest.approx(2 * 1.96 / math.sqrt(count), rel=0.15)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        estimate = bootstrap(generator.normal(0.0, 1.0, 60).tolist(), draws=400)
        hits += estimate.low <= 0.0 <= estimate.high
    assert 0.90 < hits / 300 < 0.98


def test_a_ratio_is_weighted_by_length():
    estimate = bootstrap([0, 1], [9, 1])
    assert estimate.mean == pytest.approx(0.1)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_equal_values_have_no_interval_and_the_seed_decides_the_draws():
    assert bootstrap([2.0] * 5) == Estimate(2.0, 2.0, 2.0, 5)
    values = list(range(20))
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, draws=50, seed=1) != bootstrap(values, draws=50, seed=2)
    with pytest.raises(InputError, match="no sentences"):
        bootstrap([])


def test_a_measure_is_averaged_over_the_sentences_that_have_it():
    summary = report().summary()
    assert summary["wer"].mean == pytest.approx(2 / 5)
    assert summary["mcd"] == Estimate(5.0, 5.0, 5.0, 1)
    assert "plcmos" not in summary
    assert list(summary) == [m.key for m in MEASURES if m.key in summary]
    assert summarise([]) == {}
    assert report().recordings() == {}


def test_worst_first_puts_problems_before_errors_before_poor_sound():
    rows = [
        Row("fine", "x", "", 1.0, judgement("x", "x", p808=4.0)),
        Row("dull", "x", "", 1.0, judgement("x", "x", p808=2.0)),
        Row("wrong", "x", "", 1.0, judgement("x", "y")),
        Row("broken", "x", "", 0.0, judgement("x", "x"), problem="NaN"),
    ]
    assert [row.id for row in worst_first(rows)] == ["broken", "wrong", "dull", "fine"]


def test_the_table_shows_every_measure_in_its_unit():
    text = str(report())
    assert "40.0%" in text
    assert "5.00 dB" in text
    assert "Real-time factor, 1 thread" in text
    assert "0.0120" in text
    assert "c: the audio is <empty>" in text


def test_the_json_holds_what_the_report_holds(tmp_path):
    report().save_json(tmp_path / "deep" / "report.json")
    read = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert read == report().as_dict()
    assert [row["id"] for row in read["sentences"]] == ["a", "b", "c"]
    assert read["sentences"][2]["problem"] == "the audio is <empty>"
    assert read["summary"]["wer"]["mean"] == pytest.approx(0.4)


class Balance(html.parser.HTMLParser):
    """Checks that elements nest; collects what the page would load from elsewhere."""

    VOID = ("meta", "img", "br", "!doctype")

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(tmp_path):
    audio = vowel(0.5, 22050)
    rows = list(report().rows)
    rows[1] = Row(
        "b",
        rows[1].text,
        "ada",
        0.5,
        rows[1].judgement,
        recording=judgement("one two", "one two"),
        picture=picture(audio, 22050, reference=audio),
        audio=compressed(audio, 22050),
        recording_audio=compressed(audio, 22050),
    )
    Report("<script>alert(1)</script>", rows).save_html(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Balance()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} >= {"b", "c"}
    assert "<script>alert" not in text
    assert "one &lt;b&gt;two" in text
    assert sum(link.startswith("data:audio/mpeg") for link in page.links) == 2
    assert sum(link.startswith("data:image/png") for link in page.links) == 1
    assert "Recordings" in text


def test_every_link_of_the_sentence_table_has_its_target():
    from glottis.evaluation.page import page

    text = page(report())
    targets = set(re.findall(r"id='([^']*)'", text))
    assert set(re.findall(r"href='#([^']*)'", text)) <= targets


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000, 20000])
def test_compressed_audio_is_the_same_speech(rate):
    audio = vowel(0.5, rate)
    samples, found = soundfile.read(io.BytesIO(compressed(audio, rate)), dtype="float32")
    assert found >= rate
    assert len(samples) / found == pytest.approx(0.5, abs=0.15)  # MP3 pads to whole frames
    assert np.abs(samples).max() == pytest.approx(0.7, abs=0.15)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_pictures_are_png_and_higher_with_a_recording(rate):
    audio = vowel(0.5, rate)
    marks = [("h", 0.0, 0.1), ("ə", 0.1, 0.2), (" ", 0.2, 0.3)]
    one = Image.open(io.BytesIO(picture(audio, rate, marks=marks)))
    two = Image.open(io.BytesIO(picture(audio, rate, reference=audio)))
    assert one.format == "PNG"
    assert one.width == two.width
    assert two.height > one.height


@pytest.mark.parametrize("samples", [0, 10, 255, 300])
def test_audio_too_short_for_a_spectrogram_still_has_a_picture(samples):
    assert picture(np.zeros(samples, np.float32), 22050).startswith(b"\x89PNG")


def test_the_picture_changes_with_the_sound():
    assert picture(vowel(0.5, 22050), 22050) != picture(vowel(0.5, 22050, base=220.0), 22050)
