import itertools
import math
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

import fake_voice
from glottis.errors import InputError
from glottis.voice import Speech, Voice

TEXT = "Hello, world! This is a test; nothing more.\n\nA new paragraph begins. Does it end?"


@pytest.fixture(scope="module")
def voice():
    return Voice.load(fake_voice.FAKE)


@pytest.fixture(scope="module")
def piper():
    return Voice.load(fake_voice.FAKE_PIPER)


def test_a_voice_tells_what_it_is(voice, piper):
    assert voice.name == "fake"
    assert voice.speakers == ("ada", "bert")
    assert voice.language == "en_US"
    assert voice.license == "CC0-1.0"
    assert voice.sample_rate == fake_voice.SAMPLE_RATE
    assert piper.speakers == ()
    assert piper.license is None


def test_a_voice_tells_what_can_be_asked_of_it(voice, piper):
    assert voice.noise_scale == 0.667
    assert not voice.parametric
    assert not voice.converts
    assert Voice.load("english-light").parametric


def test_what_is_analysed_is_what_is_said(voice):
    found = voice.analyse(TEXT)
    said = [mark.text for mark in voice.speak(TEXT).words]
    assert [word.text for each in found for word in each.words] == said
    assert all(each.phonemes for each in found)
    marked = voice.analyse("<speak>Hello <break/> there.</speak>", language="en")
    assert [each.text.strip() for each in marked] == ["Hello", "there."]
    for wrong in ({"language": "de"}, {"speaker": "eve"}, {"ssml": True}):
        with pytest.raises(InputError):
            voice.analyse("<speak>", **wrong)


def test_speech_is_float32_within_full_scale(voice):
    speech = voice.speak(TEXT)
    assert speech.samples.dtype == np.float32
    assert speech.samples.ndim == 1
    assert 0.01 < np.abs(speech.samples).max() <= 1
    assert speech.sample_rate == voice.sample_rate


def test_streamed_is_the_same_as_whole(voice):
    whole = voice.speak(TEXT, seed=3)
    chunks = list(voice.stream(TEXT, seed=3))
    assert len(chunks) == 4
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), whole.samples)
    assert type(whole).join(chunks).marks == whole.marks


@pytest.mark.parametrize("lead", [0.02, 0.3])
def test_with_a_lead_the_first_sentence_comes_in_two_chunks(lead, monkeypatch):
    voice = Voice.load(fake_voice.FAKE)
    made = []
    original = voice._infer
    monkeypatch.setattr(voice, "_infer", lambda feeds: made.append(feeds) or original(feeds))
    whole = voice.speak(TEXT, seed=3)
    del made[:]
    stream = voice.stream(TEXT, seed=3, lead=lead)
    first = next(stream)
    assert len(made) == 1, "only the beginning has been made"
    frames = math.ceil(lead * voice.sample_rate / fake_voice.HOP)
    assert len(first.samples) == frames * fake_voice.HOP
    assert not first.marks
    rest = list(stream)
    assert len(made) == 5
    assert "frames" not in made[1], "the others are made at once"
    joined = Speech.join([first, *rest])
    np.testing.assert_allclose(joined.samples, whole.samples, atol=1e-6)
    assert joined.text == whole.text
    assert [mark.text for mark in joined.marks] == [mark.text for mark in whole.marks]
    for ours, theirs in zip(joined.marks, whole.marks, strict=True):
        assert ours.start == pytest.approx(theirs.start)
        assert ours.end == pytest.approx(theirs.end)


def test_a_lead_beyond_the_end_changes_nothing(voice):
    whole = voice.speak("Hi.", seed=1)
    (only,) = voice.stream("Hi.", seed=1, lead=60.0)
    np.testing.assert_array_equal(only.samples, whole.samples)
    assert only.marks == whole.marks
    with pytest.raises(InputError, match="lead must be from 0 to 60 seconds"):
        voice.stream("Hi.", lead=-1)


def test_the_first_chunk_comes_before_the_rest_is_spoken(voice, monkeypatch):
    runs = []
    original = voice._infer
    monkeypatch.setattr(voice, "_infer", lambda feeds: runs.append(1) or original(feeds))
    next(voice.stream(TEXT))
    assert len(runs) == 1


def test_the_seed_decides_the_noise(voice):
    same = [voice.speak(TEXT, seed=5).samples for _ in range(2)]
    other = voice.speak(TEXT, seed=6).samples
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], other)
    # Without a seed every call is new, and without noise every call is the same.
    assert not np.array_equal(voice.speak("Hi.").samples, voice.speak("Hi.").samples)
    still = [voice.speak("Hi.", noise_scale=0).samples for _ in range(2)]
    np.testing.assert_array_equal(*still)


def test_equal_sentences_get_noise_of_their_own(voice):
    first, second = voice.stream("Hello there. Hello there.", seed=1, pause=0)
    assert len(first.samples) == len(second.samples)
    assert not np.array_equal(first.samples, second.samples)


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, 2**64, -(2**70), np.int64(4)])
def test_any_whole_number_is_a_seed(voice, seed):
    a, b = (voice.speak("Hi.", seed=seed).samples for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_numbers_of_numpy_are_numbers(voice):
    ours = {"speaker": 1, "rate": 1.5, "noise_scale": 0.5, "noise_w": 1, "pause": 1}
    kinds = {"speaker": np.int64, "rate": np.float32, "noise_scale": np.float16, "pause": np.uint8}
    theirs = {name: kinds.get(name, np.int32)(value) for name, value in ours.items()}
    one, other = (voice.speak("Hi. Ho.", seed=0, **each).samples for each in (ours, theirs))
    np.testing.assert_array_equal(one, other)
    assert Voice.load(fake_voice.FAKE, threads=np.int64(1))


def test_rate_changes_the_duration(voice):
    slow, normal, fast = (voice.speak(TEXT, rate=r, pause=0, seed=0).duration for r in (0.5, 1, 2))
    assert slow / normal == pytest.approx(2, rel=0.2)
    assert normal / fast == pytest.approx(2, rel=0.25)


def test_speakers_are_chosen_by_name_or_number(voice):
    ada, bert = (voice.speak(TEXT, speaker=s, seed=0).samples for s in ("ada", "bert"))
    assert not np.array_equal(ada, bert)
    np.testing.assert_array_equal(ada, voice.speak(TEXT, seed=0).samples)
    np.testing.assert_array_equal(bert, voice.speak(TEXT, speaker=1, seed=0).samples)


def test_marks_cover_words_and_sounds_in_order_within_the_audio(voice):
    speech = voice.speak(TEXT, seed=0)
    for kind in ("sentence", "word", "phoneme"):
        marks = [mark for mark in speech.marks if mark.kind == kind]
        assert all(0 <= m.start < m.end <= speech.duration + 1e-9 for m in marks)
        assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(marks))
    assert [mark.start for mark in speech.marks] == sorted(mark.start for mark in speech.marks)
    assert [word.text for word in speech.words] == [
        *("Hello", "world", "This", "is", "a", "test", "nothing", "more"),
        *("A", "new", "paragraph", "begins", "Does", "it", "end"),
    ]
    # Every sound belongs to one word; together they fill it.
    for word in speech.words:
        sounds = [
            p for p in speech.phonemes if word.start <= p.start + 1e-9 and p.end <= word.end + 1e-9
        ]
        assert sum(p.end - p.start for p in sounds) == pytest.approx(word.end - word.start)


def test_pauses_are_silence_between_sentences_only(voice):
    chunks = list(voice.stream(TEXT, seed=0, pause=0.2, paragraph_pause=0.7))
    silences = [chunk.marks[0].start for chunk in chunks]
    assert silences == pytest.approx([0, 0.2, 0.7, 0.2], abs=1e-4)
    for chunk, silence in zip(chunks, silences, strict=True):
        assert not chunk.samples[: int(silence * voice.sample_rate)].any()
        assert chunk.marks[0].end == pytest.approx(chunk.duration)


def test_a_piper_voice_speaks_with_marks_of_sentences(piper):
    speech = piper.speak(TEXT)
    assert speech.duration > 1
    assert {mark.kind for mark in speech.marks} == {"sentence"}
    assert len(speech.marks) == 4


def test_a_piper_voice_says_that_it_ignores_the_seed(piper, caplog):
    piper.speak("Hello.", seed=1)
    assert "seed has no effect" in caplog.text


def test_one_word_begins_and_ends_in_silence(voice):
    samples = voice.speak("Hi", seed=0).samples
    assert samples[0] == 0
    assert abs(samples[-1]) < 0.02
    assert len(samples) > 0.1 * voice.sample_rate


@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "\t \r\n", "\ufeff", "\udcff"])
def test_empty_text_is_refused_at_once(voice, text):
    with pytest.raises(InputError, match=r"nothing to say|can say nothing"):
        list(voice.stream(text))


@pytest.mark.parametrize("text", ["...", "?!", "- -", "—", "😀👍🏽", "\x00\x01\x1b", "(),;:"])
def test_text_without_words_is_refused(voice, text):
    with pytest.raises(InputError, match="can say nothing"):
        voice.speak(text)


@pytest.mark.parametrize(
    "text",
    [
        "Hello 😀 world.",
        "Hello \x00\x07\x1b[31m world.",
        "Привет, world.",
        "日本語 and English.",
        "שלום world",
        "a\u0301\u0302\u0303\u0304 b",
        "\udcff\udcfe bytes",
        "<b>bold</b> & <i>",
        "x" * 2000,
        "word" * 50 + "\n" + "?" * 500,
        "1" * 400,
        "0.0000000001 1e999 -0 ½ ² 1,2,3,,4 00:00 99:99 31/02/9999 $0 $-1 1/0 0/0 %% #",
        "12345678901234567890123456789012345678901234567890",
        "Dr. Dr. Mr. e.g. i.e. U.S.A. etc.",
        "http://a.b/c?d=e&f=g me@x.org @ # ^ ~ ` | \\ / _ = + * [ ] { }",
        "Ⅷ ⅷ ① ℃ № ™ © € £ ¥ ∞ ≠ ≤ √ π",
        "\u200b\u200d\u2060zero\u00adwidth\ufeff",
        "a.b.c.d.e.f.g. " * 30,
    ],
)
def test_odd_text_is_spoken_without_a_crash(voice, text):
    speech = voice.speak(text, seed=0, rate=4)
    assert np.isfinite(speech.samples).all()
    assert speech.duration > 0.1


def test_what_cannot_be_said_is_skipped_and_the_rest_is_said(voice):
    assert [w.text for w in voice.speak("Hello \x07 world.", seed=0).words] == ["Hello", "world"]
    chunks = list(voice.stream("First one. ??? ... Second one.", seed=0))
    assert [c.words[0].text for c in chunks if c.words] == ["First", "Second"]


def test_very_long_text_needs_bounded_memory():
    code = f"""
import resource
from glottis.voice import Speech, Voice
voice = Voice.load({str(fake_voice.FAKE)!r})
voice.speak("Hello there.")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = longest = 0
for chunk in voice.stream("some words go on and on " * 4200, rate=4, seed=0):
    seconds += chunk.duration
    longest = max(longest, chunk.duration)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(seconds, longest, grown)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, longest, grown = map(float, done.stdout.split())
    assert seconds > 1000
    assert longest < 60
    assert grown < 150


@pytest.mark.parametrize("text", ["x" * 100_000, "," * 50_000 + "a", "9" * 20_000])
def test_very_long_words_are_spoken_in_pieces(voice, text):
    chunk = next(voice.stream(text, rate=4, seed=0))
    assert chunk.duration < 120


@pytest.mark.parametrize("rate", [0, 0.249, 4.01, -1, float("nan"), float("inf"), "1", None])
def test_a_rate_out_of_range_lists_the_range(voice, rate):
    with pytest.raises(InputError, match=r"0\.25 .* 4 "):
        voice.stream("Hi.", rate=rate)


def test_an_unknown_speaker_lists_the_first_ten(voice, piper, tmp_path):
    with pytest.raises(InputError, match=r"no speaker 'eve'.*ada, bert$"):
        voice.stream("Hi.", speaker="eve")
    for wrong in (2, -1, 1.0, True and "ADA"):
        with pytest.raises(InputError, match="ada, bert"):
            voice.stream("Hi.", speaker=wrong)
    with pytest.raises(InputError, match="single speaker"):
        piper.stream("Hi.", speaker="eve")
    onnx = pytest.importorskip("onnx")
    path = fake_voice.copy(
        fake_voice.FAKE,
        tmp_path,
        num_speakers=25,
        speaker_id_map={f"s{i:02}": i for i in range(25)},
    )
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    many = Voice.load(path)
    with pytest.raises(InputError, match=r"s00, .*s09 and 15 more"):
        many.stream("Hi.", speaker="eve")
    # An id that the JSON promises and the graph lacks is told apart from a wrong argument.
    with pytest.raises(InputError, match="speaker_id_map"):
        many.speak("Hi.", speaker="s24")


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": 1.5},
        {"seed": "1"},
        {"seed": True},
        {"speaker": True},
        {"speaker": []},
        {"rate": np.float32("nan")},
        {"rate": True},
        {"noise_scale": True},
        {"noise_scale": -1},
        {"noise_scale": float("nan")},
        {"noise_w": 1e9},
        {"pause": -1},
        {"pause": float("inf")},
        {"paragraph_pause": "long"},
    ],
)
def test_wrong_arguments_raise_at_once_and_are_named(voice, arguments):
    (name,) = arguments
    with pytest.raises(InputError, match=name):
        voice.stream("Hi.", **arguments)


def test_text_must_be_text(voice):
    for wrong in (None, b"bytes", 5):
        with pytest.raises(InputError, match="str"):
            voice.stream(wrong)


def test_threads_must_be_positive():
    for wrong in (0, 1.5, "2", None):
        with pytest.raises(InputError, match="threads"):
            Voice.load(fake_voice.FAKE, threads=wrong)


def test_several_threads_speak_at_once_and_get_what_one_gets(voice):
    texts = [f"This is sentence number {i}." for i in range(8)]
    alone = [voice.speak(text, seed=i).samples for i, text in enumerate(texts)]
    together = [None] * len(texts)

    def run(i):
        together[i] = voice.speak(texts[i], seed=i).samples

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_progress_counts_up_to_the_whole(voice):
    seen = []
    list(voice.stream(TEXT, progress=lambda done, total: seen.append((done, total))))
    assert seen == [(i, 4) for i in range(1, 5)]


def test_memory_of_many_calls_does_not_grow(voice):
    for _ in range(20):
        voice.speak("Warm up.", seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(200):
        voice.speak("The same sentence again.", seed=i)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


SSML = """<speak>
  <mark name="begin"/>Hello <mark name="here"/>world.<break time="700ms"/>
  <prosody rate="50%">Slow words.</prosody> Fast words.<mark name="end"/><break time="1s"/>
</speak>"""


def test_ssml_breaks_are_silence_and_marks_have_times(voice):
    speech = voice.speak(SSML, seed=0)
    words = {word.text: word for word in speech.words}
    marks = {mark.text: mark for mark in speech.marks if mark.kind == "mark"}
    assert all(mark.start == mark.end for mark in marks.values())
    assert marks["begin"].start == pytest.approx(words["Hello"].start)
    assert marks["here"].start == pytest.approx(words["world"].start)
    first, slow, fast = (mark for mark in speech.marks if mark.kind == "sentence")
    assert slow.start - first.end == pytest.approx(0.7, abs=1e-3)
    assert marks["end"].start == pytest.approx(fast.end)
    assert speech.duration - fast.end == pytest.approx(1, abs=1e-3)
    assert not speech.samples[-voice.sample_rate + 10 :].any()
    assert words["Slow"].end - words["Slow"].start > 1.4 * (words["Fast"].end - words["Fast"].start)


@pytest.mark.parametrize("then", ["", "<break time='0s'/>", "<break time='100ms'/>"])
@pytest.mark.parametrize("last", ["", "<p>World.</p>"])
def test_a_mark_comes_before_the_next_words_or_the_end(voice, then, last):
    text = f'<speak><p>Hello.</p> <mark name="m"/>...{then}{last}</speak>'
    speech = voice.speak(text, seed=0)
    (mark,) = [mark for mark in speech.marks if mark.kind == "mark"]
    limits = [word.start for word in speech.words if word.text == "World"] + [speech.duration]
    assert mark.start <= limits[0] + 1e-9


def test_punctuation_that_markup_leaves_over_is_not_missed(voice, caplog):
    voice.speak('<speak>He said <prosody rate="slow">hello</prosody>. <p>...</p> So.</speak>')
    assert not caplog.records
    voice.speak("Hello.\n\n☃\n\nSo.")
    assert "nothing to say in '☃'" in caplog.text


def test_ssml_streamed_is_the_same_as_whole(voice):
    whole = voice.speak(SSML, seed=0)
    chunks = list(voice.stream(SSML, seed=0))
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), whole.samples)
    assert type(whole).join(chunks).marks == whole.marks


def test_ssml_that_is_damaged_or_silent_is_refused(voice):
    with pytest.raises(InputError, match="line 1, column"):
        voice.stream("<speak>")
    for silent in ("<speak/>", '<speak><break time="1s"/><mark name="a"/></speak>'):
        with pytest.raises(InputError, match="nothing to say"):
            voice.stream(silent)


def test_phonemes_can_be_given_in_any_text(voice):
    given, plain = (voice.speak(t, seed=0, noise_scale=0) for t in ("[[kˈæt]].", "Cat."))
    assert [p.text for p in given.phonemes] == ["k", "ˈæ", "t"]
    np.testing.assert_array_equal(given.samples, plain.samples)
