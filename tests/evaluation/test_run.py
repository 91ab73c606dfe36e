"""Evaluating audio and voices, from end to end, on the fake voice and a synthetic corpus."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fake_voice
from glottis.errors import InputError
from glottis.evaluation.run import Spoken, evaluate, evaluate_audio, read_texts
from glottis.evaluation.speed import measure_speed, peak_resident_bytes


def pieces(speech, **changes):
    return [
        Spoken(str(i), text, samples, rate, **changes)
        for i, (text, samples, rate) in enumerate(speech)
    ]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("# comment\nThe sun is up.\n\n  Dr. Smith has 3 cats.\n!!!\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    from glottis.corpus.prepare import PrepareConfig, prepare
    from synthetic_corpus import write_corpus

    folder = tmp_path_factory.mktemp("corpus")
    config = PrepareConfig(test_share=0.5, speaker="bert")
    texts = ["Yes.", "No.", "We go.", "Stay here.", "It rains.", "Why not?", "Good.", "See."]
    write_corpus(folder / "corpus", 8, texts=texts)
    prepare(folder / "corpus", folder / "prepared", config=config, jobs=1)
    return folder / "prepared"


def test_audio_against_itself_has_no_distance_and_equal_scores(speech):
    items = [dataclasses.replace(p, reference=p.samples) for p in pieces(speech)[1:]]
    report = evaluate_audio(items)
    for row in report.rows:
        assert row.recording is not None
        assert row.judgement.errors == row.recording.errors
        assert row.judgement.scores["mcd"] == 0.0
        assert row.judgement.scores["spectral_convergence"] == 0.0
        assert row.judgement.scores["p808"] == row.recording.scores["p808"]
    assert report.summary()["wer"] == report.recordings()["wer"]
    assert report.summary()["p808"].count == len(items)


def test_a_generator_is_taken_one_by_one(speech):
    judged = []

    def made():
        for item in pieces(speech):
            judged.append(item.id)
            yield item

    assert [row.id for row in evaluate_audio(made()).rows] == judged == ["0", "1", "2"]


def test_what_cannot_be_judged_is_a_row_with_every_word_wrong(speech):
    good = pieces(speech)[0]
    bad = [
        dataclasses.replace(good, id="nan", samples=np.full(5000, np.nan, np.float32)),
        dataclasses.replace(good, id="none", samples=np.zeros(0, np.float32), problem="no words"),
        dataclasses.replace(good, id="stereo", samples=np.zeros((5000, 2), np.float32)),
    ]
    report = evaluate_audio([good, *bad], pictures=True)
    problems = {row.id: row.problem for row in report.rows}
    assert problems["0"] is None
    assert "NaN" in problems["nan"]
    assert problems["none"] == "no words"
    assert "mono" in problems["stereo"]
    for row in report.rows[1:]:
        assert row.judgement.scores == {"wer": 1.0, "cer": 1.0}
        assert row.picture is None
    assert report.rows[0].picture.startswith(b"\x89PNG")
    assert report.rows[0].audio


def test_words_are_counted_in_the_recognisers_language_alone(speech, tmp_path):
    good = pieces(speech)[0]
    german = dataclasses.replace(good, id="de", language="de")
    broken = dataclasses.replace(german, id="none", samples=np.zeros(0, np.float32), problem="no")
    british = dataclasses.replace(good, id="gb", language="en_GB")
    # The cache, too: what was judged without words is judged with them when it is asked for.
    first, second = (evaluate_audio([german, good, british], cache=tmp_path) for _ in range(2))
    for report in (first, second):
        one, two, three = (row.judgement for row in report.rows)
        assert set(two.scores) - set(one.scores) == {"wer", "cer"}
        assert one.errors is None
        assert one.scores["p808"] == two.scores["p808"]
        assert two.errors == three.errors
    report = evaluate_audio([german, broken])
    assert report.rows[1].problem == "no"
    assert report.rows[1].judgement.scores == {}
    assert "Word error rate" not in str(report)


def test_a_broken_recording_names_the_sentence(speech):
    item = dataclasses.replace(pieces(speech)[0], reference=np.full(5000, np.nan, np.float32))
    with pytest.raises(InputError, match="0: its recording cannot be used.*NaN"):
        evaluate_audio([item])


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(InputError, match="no sentences"):
        evaluate_audio([])
    with pytest.raises(InputError, match="jobs must be at least 1, not 0"):
        evaluate_audio([], jobs=0)


def test_texts_of_which_nothing_can_be_said_are_refused(tmp_path):
    (tmp_path / "t.txt").write_text("...\n!!!\n")
    with pytest.raises(InputError, match=r"t\.txt: no sentence can be judged; .* can say nothing"):
        evaluate(fake_voice.FAKE, texts=tmp_path / "t.txt", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_text_without_letters_has_scores_but_no_error_rate(speech):
    report = evaluate_audio([dataclasses.replace(pieces(speech)[0], text="...")])
    assert report.rows[0].judgement.errors is None
    assert set(report.summary()) == {"p808", "plcmos"}


def test_cached_scores_are_the_scores_and_are_taken(speech, tmp_path, monkeypatch):
    items = pieces(speech)[:1]
    plain = evaluate_audio(items).as_dict()
    assert evaluate_audio(items, cache=tmp_path).as_dict() == plain
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr("glottis.evaluation.run._programs", lambda: None)
    assert evaluate_audio(items, cache=tmp_path).as_dict() == plain
    # The words are compared anew: the same audio may be meant to say something else.
    other = evaluate_audio([dataclasses.replace(items[0], text="Zebras.")], cache=tmp_path)
    assert other.summary()["wer"].mean >= 1.0
    # A damaged entry is not taken.
    monkeypatch.undo()
    for path in tmp_path.iterdir():
        path.write_text("{")
    assert evaluate_audio(items, cache=tmp_path).as_dict() == plain


def test_two_processes_find_what_one_finds(speech):
    items = pieces(speech)[:2]
    assert evaluate_audio(items, jobs=2).as_dict() == evaluate_audio(items).as_dict()


def test_a_voice_is_evaluated_on_texts(texts, tmp_path):
    steps = []
    report = evaluate(
        fake_voice.FAKE,
        texts=texts,
        out=tmp_path / "out",
        speaker="bert",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [row.id for row in report.rows] == ["002", "004", "005"]
    assert report.rows[1].text.lower() == "doctor smith has three cats."
    assert report.rows[2].problem is not None
    assert {row.speaker for row in report.rows} == {"bert"}
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert read["about"]["speaker"] == "bert"
    assert [speed["threads"] for speed in read["speed"]] == [1, 2][: os.cpu_count()]
    for speed in read["speed"]:
        assert 0 < speed["real_time_factor"] < 1
        assert 0 < speed["first_audio_seconds"] < 5
        assert 20 < speed["peak_megabytes"] < 400
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.count("data:image/png") == 2
    assert html.count("data:audio/mpeg") == 2


def test_the_same_seed_gives_the_same_report(tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("Good day.")
    first, again, other = (
        evaluate(fake_voice.FAKE, texts=texts, seed=s, timing=False) for s in (1, 1, 2)
    )
    assert first.as_dict() == again.as_dict()
    assert first.rows[0].judgement.scores != other.rows[0].judgement.scores


def test_a_voice_is_evaluated_on_held_out_recordings(prepared, tmp_path):
    from glottis.corpus import Prepared

    report = evaluate(fake_voice.FAKE, data=prepared, out=tmp_path, timing=False, limit=2)
    held_out = {cut.id: cut.supervisions[0].text for cut in Prepared([prepared]).cuts("test")}
    assert len(report.rows) == min(2, len(held_out))
    for row in report.rows:
        assert row.text == held_out[row.id]
        assert row.speaker == "bert"  # the voice has the recordings' speaker
        assert {"mcd", "voicing_error", "spectral_convergence"} <= row.judgement.scores.keys()
        assert row.recording is not None
        assert row.recording_audio
    assert report.recordings()["p808"].count == len(report.rows)


def test_another_rate_of_the_voice_is_bridged(prepared, tmp_path):
    voice = fake_voice.copy(fake_voice.FAKE_PIPER, tmp_path, audio={"sample_rate": 16000})
    report = evaluate(voice, data=prepared, limit=1, timing=False)
    assert report.rows[0].problem is None
    assert report.rows[0].judgement.scores["mcd"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either texts"),
        ({"texts": Path("a"), "data": Path("b")}, "either texts"),
        ({"texts": Path("no-such-file.txt")}, "cannot read no-such-file.txt"),
        ({"data": Path("no-such-folder")}, "not a prepared corpus"),
        ({"texts": Path(__file__), "limit": 0}, "limit must be 1 or more"),
        ({"texts": Path(__file__), "speaker": "zoe", "timing": False}, "no speaker 'zoe'.*ada"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        evaluate(fake_voice.FAKE, **arguments)


def test_text_files_are_read_line_by_line(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeffOne.\r\n\r\n# no\r\n Two — zwei. ".encode())
    assert read_texts(path) == [("001", "One."), ("004", "Two — zwei.")]
    path.write_text("# only a comment\n\n")
    with pytest.raises(InputError, match="holds no sentences"):
        read_texts(path)
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_texts(path)


def test_speed_of_a_voice_that_cannot_speak_carries_its_complaint(tmp_path):
    with pytest.raises(InputError, match=r"could not be timed.*nothing\.onnx"):
        measure_speed(tmp_path / "nothing.onnx", ["Hello."], threads=1)
    with pytest.raises(InputError, match="no texts"):
        measure_speed(fake_voice.FAKE, [], threads=1)


def test_peak_memory_is_this_processs_own_and_follows_what_it_takes():
    script = (
        "from glottis.evaluation.speed import peak_resident_bytes as peak\n"
        "import numpy; before = peak(); block = numpy.ones(50_000_000 // 8)\n"
        "print(before, peak())"
    )
    ballast = np.ones(30_000_000)  # a parent's memory must not count
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    before, after = map(int, done.stdout.split())
    assert before < 150e6 < peak_resident_bytes()
    assert 45e6 < after - before < 60e6
    assert ballast[0] == 1.0


def test_the_shipped_sentences_can_be_read():
    folder = Path(__file__).parents[2] / "benchmarks" / "texts"
    plain = [text for _, text in read_texts(folder / "plain.txt")]
    assert len(set(plain)) == len(plain) >= 60
    assert all(4 <= len(text.split()) <= 26 and not any(map(str.isdigit, text)) for text in plain)
    assert len(read_texts(folder / "written.txt")) >= 20
