"""A prepared synthetic corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from glottis.corpus.prepare import PrepareConfig, prepare
from synthetic_corpus import write_corpus


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen utterances of one speaker, a few held out."""
    folder = tmp_path_factory.mktemp("data")
    write_corpus(folder / "corpus", rows=16)
    prepare(folder / "corpus", folder / "prepared", config=PrepareConfig(test_share=0.2), jobs=1)
    return folder / "prepared"
