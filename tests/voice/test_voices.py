import os

import pytest

import fake_voice
from glottis import voices
from glottis.errors import InputError
from glottis.voice import Voice


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No voices but those that a test puts into GLOTTIS_VOICES or the user's folder."""
    first, second = tmp_path / "first", tmp_path / "second"
    monkeypatch.setenv("GLOTTIS_VOICES", f"{first}{os.pathsep}{second}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for folder in (first, second, tmp_path / "data" / "glottis" / "voices"):
        folder.mkdir(parents=True)
    return tmp_path


def test_a_name_is_found_in_every_folder_and_the_first_wins(home):
    fake_voice.copy(fake_voice.FAKE, home / "second", "one")
    assert Voice.load("one").path == home / "second" / "one.onnx"
    fake_voice.copy(fake_voice.FAKE, home / "first", "one")
    assert Voice.load("one").path == home / "first" / "one.onnx"
    fake_voice.copy(fake_voice.FAKE, home / "data" / "glottis" / "voices", "two")
    assert Voice.load("two").path.stem == "two"
    names = [voice.name for voice in voices.installed()]
    assert names[:2] == ["one", "two"]
    assert len(set(names)) == len(names)


def test_the_listing_tells_what_the_files_say(home):
    path = fake_voice.copy(fake_voice.FAKE, home / "first")
    (home / "first" / "fake.md").write_text("# A card")
    info = voices.describe(path)
    assert (info.name, info.language, info.speakers) == ("fake", "en_US", ("ada", "bert"))
    assert (info.size, info.license) == (path.stat().st_size, "CC0-1.0")
    assert info.card == home / "first" / "fake.md"
    assert info.problem is None


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_damaged_voice_does_not_stop_the_listing(home, content):
    path = fake_voice.copy(fake_voice.FAKE, home / "first")
    json_path = path.with_name("fake.onnx.json")
    json_path.unlink() if content is None else json_path.write_text(content)
    (info,) = [voice for voice in voices.installed() if voice.name == "fake"]
    assert "fake.onnx.json" in info.problem


def test_links_that_lead_nowhere_and_folders_are_no_voices(home):
    good = fake_voice.copy(fake_voice.FAKE, home / "second", "lost")
    (home / "first" / "lost.onnx").symlink_to(home / "away.onnx")
    (home / "first" / "dir.onnx").mkdir()
    assert voices.describe(home / "first" / "lost.onnx").problem.startswith("lost.onnx: ")
    names = [voice.name for voice in voices.installed()]
    assert "lost" in names
    assert "dir" not in names
    assert Voice.load("lost").path == good
    with pytest.raises(InputError, match=r"there is no voice 'dir'\.(?! Did you mean)"):
        Voice.load("dir")
    good.unlink()
    assert "lost" not in [voice.name for voice in voices.installed()]
    with pytest.raises(InputError, match=r"first/lost\.onnx is a link to .*away\.onnx"):
        Voice.load("lost")


def test_an_unknown_voice_lists_the_installed_and_the_nearest(home):
    fake_voice.copy(fake_voice.FAKE, home / "first", "english-fake")
    with pytest.raises(InputError, match=r"'english-fak'.*Did you mean 'english-fake'.*Installed:"):
        Voice.load("english-fak")


def test_paths_that_lead_nowhere_are_named(home):
    for path in (home / "none.onnx", home / "folder.onnx"):
        (home / "folder.onnx").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=path.name):
            Voice.load(path)


def test_the_default_is_the_shipped_voice_else_an_installed_one(home, monkeypatch):
    shipped = home / "package"
    shipped.mkdir()
    monkeypatch.setattr(voices, "__file__", str(shipped / "__init__.py"))
    with pytest.raises(InputError, match=r"no voice is installed.*NAME\.onnx\.json"):
        Voice.load()
    fake_voice.copy(fake_voice.FAKE, home / "first", "a")
    assert Voice.load().path == home / "first" / "a.onnx"
    fake_voice.copy(fake_voice.FAKE, shipped, "z")
    assert Voice.load().path == shipped / "z.onnx"
    for name in ("y-light", "y"):
        fake_voice.copy(fake_voice.FAKE, shipped, name)
        assert Voice.load().path == shipped / f"{name}.onnx"


def test_shipped_voices_are_complete():
    for path in voices.folders()[-1].glob("*.onnx"):
        info = voices.describe(path)
        assert info.problem is None
        assert info.card is not None
        assert info.license
        assert info.size <= 20e6
        assert Voice.load(path).speak("Hello.", seed=0).duration > 0.2


def test_the_fake_voices_are_small():
    for path in (fake_voice.FAKE, fake_voice.FAKE_PIPER):
        assert path.stat().st_size < 200_000
        assert path.with_name(path.name + ".json").is_file()
