"""Reading prepared folders: whole, in windows, lazily, and what is refused."""

import copy
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import glottis.corpus.prepared as reading
from glottis.audio.mel import MelConfig
from glottis.corpus import Prepared, load_audio, load_mel, load_pitch
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.errors import InputError
from synthetic_corpus import write_corpus


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two prepared corpora, ``anna`` (en-us) and ``bert`` (nl), with rows of the same ids."""
    root = tmp_path_factory.mktemp("prepared")
    outs = []
    for name, language in (("anna", "en-us"), ("bert", "nl")):
        corpus = write_corpus(root / name, 5)
        config = PrepareConfig(language=language, test_share=0.4)
        prepare(corpus, root / "out" / name, config=config, jobs=1)
        outs.append(root / "out" / name)
    return outs


@given(data=st.data())
@settings(max_examples=60)
def test_windows_are_slices(folders: list[Path], data: st.DataObject) -> None:
    cut = data.draw(st.sampled_from(list(Prepared(folders).cuts("train"))))
    start = data.draw(st.integers(0, cut.num_frames))
    frames = data.draw(st.none() | st.integers(0, cut.num_frames - start))
    end = cut.num_frames if frames is None else start + frames
    np.testing.assert_array_equal(load_mel(cut, start, frames), load_mel(cut)[:, start:end])
    hop = Prepared(folders).mel.hop
    np.testing.assert_array_equal(
        load_audio(cut, start, frames), load_audio(cut)[start * hop : end * hop]
    )


def test_truncated_cuts_count_from_their_own_beginning(folders: list[Path]) -> None:
    cut = next(iter(Prepared(folders).cuts("train")))
    shift = cut.features.frame_shift
    part = cut.truncate(offset=10 * shift, duration=20 * shift)
    np.testing.assert_array_equal(load_mel(part), load_mel(cut, 10, 20))
    np.testing.assert_array_equal(load_audio(part, 5), load_audio(cut, 15, 15))


@pytest.mark.parametrize("window", [(-1, 5), (0, 10**6), (10**6, None), (0, -1)])
def test_windows_outside_are_refused(folders: list[Path], window: tuple[int, int | None]) -> None:
    cut = next(iter(Prepared(folders).cuts("train")))
    for load in (load_mel, load_audio):
        with pytest.raises(InputError, match="do not lie within"):
            load(cut, *window)


def test_several_folders_are_one(folders: list[Path]) -> None:
    both = Prepared(folders)
    assert both.speakers == ["anna", "bert"]
    assert both.languages == ["en-us", "nl"]
    assert both.speaker_languages == {"anna": "en-us", "bert": "nl"}
    assert both.mel == MelConfig()
    ids = [cut.id for split in ("train", "test") for cut in both.cuts(split)]
    assert len(set(ids)) == len(ids) == 10
    for split in ("train", "test"):
        parts = [cut.id for folder in folders for cut in Prepared([folder]).cuts(split)]
        assert [cut.id for cut in both.cuts(split)] == parts
        assert len(both.cuts(split)) == len(parts) == both.counts[split]
        found = sum(cut.duration for cut in both.cuts(split)) / 60
        assert both.minutes[split] == pytest.approx(found, abs=0.01)


def _is_short(cut: Any) -> bool:
    return bool(cut.duration < 100)


def test_manifests_are_lazy(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    original = json.loads

    def counting(text: str) -> object:
        nonlocal read
        read += 1
        return original(text)

    cuts = Prepared(folders).cuts("train")
    assert cuts.is_lazy
    monkeypatch.setattr(reading.json, "loads", counting)
    next(iter(cuts))
    assert read < 5, "the first cut must not cost the whole manifest"
    # Lhotse's operations stay lazy, and cuts can be read again.
    short = cuts.filter(_is_short).map(copy.copy)
    assert short.is_lazy
    assert [cut.id for cut in short] == [cut.id for cut in cuts] == [cut.id for cut in cuts]


def test_cuts_travel_to_other_processes(folders: list[Path]) -> None:
    cuts = Prepared(folders).cuts("train")
    assert [cut.id for cut in pickle.loads(pickle.dumps(cuts))] == [cut.id for cut in cuts]


def test_a_folder_can_be_moved(folders: list[Path], tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(folders[0], moved)
    before, after = (next(iter(Prepared([f]).cuts("train"))) for f in (folders[0], moved))
    assert after.recording.sources[0].source.startswith(str(moved))
    np.testing.assert_array_equal(load_audio(before), load_audio(after))
    np.testing.assert_array_equal(load_mel(before), load_mel(after))


def test_other_mel_settings_are_refused(folders: list[Path], tmp_path: Path) -> None:
    config = PrepareConfig(mel=MelConfig(mels=64))
    prepare(write_corpus(tmp_path / "c", 1), tmp_path / "narrow", config=config, jobs=1)
    with pytest.raises(InputError, match="different mel settings") as error:
        Prepared([folders[0], tmp_path / "narrow"])
    for part in (str(folders[0]), str(tmp_path / "narrow"), "mels=80", "mels=64"):
        assert part in str(error.value)


def test_what_is_no_prepared_corpus(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name at least one"):
        Prepared([])
    with pytest.raises(InputError, match=r"not a prepared corpus.*glottis prepare CORPUS"):
        Prepared([tmp_path])
    with pytest.raises(InputError, match="no split 'dev'"):
        Prepared(folders).cuts("dev")  # type: ignore[arg-type]
    broken = tmp_path / "broken"
    shutil.copytree(folders[0], broken)
    manifest = broken / "cuts.jsonl.gz"
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"cannot read .*cuts\.jsonl\.gz.*glottis prepare"):
        list(Prepared([broken]).cuts("train"))
    (broken / "corpus.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*corpus\.json"):
        Prepared([broken])
    settings = json.loads((folders[0] / "corpus.json").read_text())
    for key, value, said in (
        ("counts", None, "counts"),
        ("counts", {"train": 5}, "counts.test"),
        ("speakers", "anna", "speakers"),
    ):
        (broken / "corpus.json").write_text(json.dumps({**settings, key: value}))
        with pytest.raises(InputError, match=f"corpus.json does not say {said}; .*prepare` again"):
            Prepared([broken])
    (broken / "corpus.json").write_text('{"format": 0}')
    with pytest.raises(InputError, match="another version"):
        Prepared([broken])


@pytest.mark.parametrize("rest", [0, 1, 100, 500])
def test_damaged_features_are_named(folders: list[Path], tmp_path: Path, rest: int) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders[0], broken)
    cut = next(iter(Prepared([broken]).cuts("train")))
    for load, ending in ((load_mel, ".npy"), (load_pitch, ".f0.npy")):
        path = reading.feature_file(cut.features.storage_path, cut.features.storage_key, ending)
        assert len(path.read_bytes()) > 500
        path.write_bytes(path.read_bytes()[:rest])
        with pytest.raises(InputError, match=r"cannot read .*\.npy.*`glottis prepare` again"):
            load(cut)
        np.save(path, np.zeros((cut.num_frames - 1, 80), np.float32))
        with pytest.raises(InputError, match=rf"has {cut.num_frames - 1} frames.*again"):
            load(cut)


def test_missing_files_are_named(folders: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders[0], broken)
    shutil.rmtree(broken / "audio")
    shutil.rmtree(broken / "mels")
    cut = next(iter(Prepared([broken]).cuts("train")))
    for load in (load_mel, load_audio):
        with pytest.raises(InputError, match=r"cannot read .*broken.*glottis prepare"):
            load(cut)
