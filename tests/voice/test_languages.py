"""A voice of several languages: which is spoken, by whom, and what is said of the others."""

import numpy as np
import pytest

import fake_voice
from glottis import voices
from glottis.cli import main
from glottis.errors import InputError
from glottis.text import FrontEnd
from glottis.text.languages import find_language
from glottis.voice import Voice

OURS = {
    "version": "0.1.0",
    "name": "several",
    "license": "CC0-1.0",
    "languages": {"de": 0, "en-us": 1, "nl": 2},
    "speaker_languages": {"ada": "en-us", "bert": "de"},
}
TEXT = "Am 3. Mai war es schön."


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voices")
    return Voice.load(fake_voice.copy(fake_voice.FAKE, folder, "several", glottis=OURS))


def sounds(speech):
    return "".join(mark.text for mark in speech.phonemes)


def said(text, language):
    ipa = "".join(FrontEnd(language).analyse(text).phonemes)
    return "".join(sound for sound in ipa if sound not in " .,;:!?")


def test_a_voice_tells_its_languages_the_default_first(voice):
    assert voice.languages == ("en-us", "de", "nl")
    assert voice.language == "en_US"
    spoken = [voice.language_of(speaker) for speaker in (None, "ada", "bert", 1)]
    assert spoken == ["en-us", "en-us", "de", "de"]
    assert "en-us, de, nl" in repr(voice)
    assert Voice.load(fake_voice.FAKE).languages == ("en-us",)


@pytest.mark.parametrize("language", ["en-us", "de", "nl"])
def test_the_language_decides_normalisation_and_phonemes(voice, language):
    assert sounds(voice.speak(TEXT, language=language, seed=0)) == said(TEXT, language)


def test_speakers_speak_their_own_language_unless_asked(voice):
    assert sounds(voice.speak(TEXT, speaker="ada", seed=0)) == said(TEXT, "en-us")
    assert sounds(voice.speak(TEXT, speaker="bert", seed=0)) == said(TEXT, "de")
    assert sounds(voice.speak(TEXT, speaker="bert", language="nl", seed=0)) == said(TEXT, "nl")


@pytest.mark.parametrize("written", ["de", "DE", "de-DE", "de_AT"])
def test_languages_are_found_as_people_write_them(voice, written):
    assert sounds(voice.speak(TEXT, language=written, seed=0)) == said(TEXT, "de")


def test_a_language_that_is_not_there_lists_those_that_are(voice):
    for wrong in ("fr", "en-gb", "", "d"):
        with pytest.raises(InputError, match=r"several does not speak.*en-us, de, nl$"):
            voice.stream("Hi.", language=wrong)
    with pytest.raises(InputError, match=r"does not speak 'de'.*Languages: en-us$"):
        Voice.load(fake_voice.FAKE).stream("Hi.", language="de")


def test_a_base_that_two_languages_share_names_neither():
    known = ("en-us", "en-gb", "de")
    assert [find_language(w, known) for w in ("en", "en-GB", "de-CH", "e")] == [
        None,
        "en-gb",
        "de",
        None,
    ]


def test_ssml_changes_the_language_within_a_text(voice, caplog):
    speech = voice.speak(
        '<speak xml:lang="en-US">He said <lang xml:lang="de-DE">zwei Jahre</lang> twice. '
        '<s xml:lang="nl">Twee jaar.</s><p xml:lang="fr">Two years.</p></speak>',
        seed=0,
    )
    parts = [("He said", "en-us"), ("zwei Jahre", "de"), ("twice.", "en-us"), ("Twee jaar.", "nl")]
    assert sounds(speech) == "".join(said(*part) for part in [*parts, ("Two years.", "en-us")])
    assert "does not speak 'fr'" in caplog.text
    words = [word.text for word in speech.words]
    assert words == "He said zwei Jahre twice Twee jaar Two years".split()


def test_one_language_hears_nothing_of_xml_lang():
    voice = Voice.load(fake_voice.FAKE)
    plain = voice.speak("<speak>One two. Three.</speak>", seed=0)
    tagged = voice.speak('<speak xml:lang="en-US">One two. Three.</speak>', seed=0)
    np.testing.assert_array_equal(plain.samples, tagged.samples)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"languages": {"de": -1}}, ["glottis.languages.de", "-1"]),
        ({"languages": {"de": "x"}}, ["glottis.languages.de", "'x'"]),
        ({"languages": []}, ["glottis.languages", "object"]),
        ({"languages": {"de": 0}}, ["espeak.voice", "en-us", "de"]),
        ({"languages": {"en-us": 0, "xx-no": 1}}, ["xx-no"]),
        ({"speaker_languages": {"eve": "de"}}, ["speaker_languages.eve", "ada, bert"]),
        ({"speaker_languages": {"ada": "fr"}}, ["speaker_languages.ada", "'fr'", "nl"]),
    ],
)
def test_json_that_lies_about_languages_is_refused(tmp_path, changes, words):
    path = fake_voice.copy(fake_voice.FAKE, tmp_path, glottis=OURS | changes)
    with pytest.raises(InputError) as error:
        Voice.load(path)
    for word in (str(tmp_path), *words):
        assert word in str(error.value)


def test_the_command_line_lists_and_speaks_them(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "voices"
    folder.mkdir()
    path = fake_voice.copy(fake_voice.FAKE, folder, "several", glottis=OURS)
    monkeypatch.setenv("GLOTTIS_VOICES", str(folder))
    monkeypatch.chdir(tmp_path)
    assert voices.describe(path).languages == ("en-us", "de", "nl")
    assert main(["voices"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("several"))
    assert "en-us, de, nl" in row
    words = ["speak", TEXT, "--voice", "several", "--seed", "1"]
    for language in ("de", "nl"):
        assert main([*words, "--language", language, "-o", f"{language}.wav"]) == 0
    assert (tmp_path / "de.wav").read_bytes() != (tmp_path / "nl.wav").read_bytes()
    capsys.readouterr()
    assert main([*words, "--language", "fr", "-o", "fr.wav"]) == 2
    assert "Languages: en-us, de, nl" in capsys.readouterr().err
    assert not (tmp_path / "fr.wav").exists()
