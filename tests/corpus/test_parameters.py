"""Parameters of prepared recordings: made once, kept, and equal to the analysis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glottis.audio.vocoder import VocoderConfig, analyse
from glottis.corpus import Prepared, load_audio
from glottis.corpus import parameters as module
from glottis.corpus.parameters import continuous_log_pitch, load_parameters
from glottis.corpus.prepare import PrepareConfig, prepare
from glottis.errors import InputError
from synthetic_corpus import write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Prepared:
    write_corpus(tmp_path / "corpus", rows=2)
    prepare(tmp_path / "corpus", tmp_path / "data", config=PrepareConfig(test_share=0.0), jobs=1)
    return Prepared([tmp_path / "data"])


def test_they_are_the_analysis_and_made_once(
    corpus: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = VocoderConfig()
    cut = next(iter(corpus.cuts("train")))
    first = load_parameters(cut, config)
    expected = analyse(load_audio(cut), config)
    monkeypatch.setattr(module, "analyse", None)
    again = load_parameters(cut, config)
    for found in (first, again):
        for name in ("pitch", "cepstrum", "aperiodicity"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    with pytest.raises(TypeError):
        load_parameters(cut, VocoderConfig(order=24))


def test_a_torn_file_is_made_anew(corpus: Prepared) -> None:
    config = VocoderConfig()
    cut = next(iter(corpus.cuts("train")))
    first = load_parameters(cut, config)
    (path,) = (corpus.dirs[0] / "parameters").rglob("*.npy")
    path.write_bytes(path.read_bytes()[:1000])
    np.testing.assert_array_equal(load_parameters(cut, config).cepstrum, first.cepstrum)


def test_a_folder_that_cannot_be_written_is_no_obstacle(
    corpus: Prepared, caplog: pytest.LogCaptureFixture
) -> None:
    (corpus.dirs[0] / "parameters").write_text("in the way")
    cut = next(iter(corpus.cuts("train")))
    for _ in range(2):
        assert len(load_parameters(cut, VocoderConfig()).pitch)
    assert caplog.text.count("are not kept") == 1


def test_another_rate_is_refused(corpus: Prepared) -> None:
    cut = next(iter(corpus.cuts("train")))
    with pytest.raises(InputError, match=r"mel.sample_rate=16000"):
        load_parameters(cut, VocoderConfig(16000))


def test_the_pitch_runs_on_where_there_is_none() -> None:
    pitch = np.array([0, 100, 0, 0, 0, 200, 0], np.float32)
    line = np.exp(continuous_log_pitch(pitch))
    np.testing.assert_allclose(line[[0, 1, 5, 6]], [100, 100, 200, 200], rtol=1e-5)
    assert line[3] == pytest.approx(np.sqrt(100 * 200), rel=1e-5)
    assert (continuous_log_pitch(np.zeros(3, np.float32)) == np.float32(np.log(150))).all()
