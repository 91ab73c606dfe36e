"""Prepared corpora: Lhotse manifests, conditioned audio and cached log-mels.

:mod:`glottis.corpus.prepare` makes a prepared folder, :class:`Prepared` reads one or several, and
:mod:`glottis.corpus.doctor` looks at a corpus before any of that.
"""

from __future__ import annotations

from glottis.corpus.prepared import Prepared, load_audio, load_mel, load_pitch

__all__ = ["Prepared", "load_audio", "load_mel", "load_pitch"]
