"""How good a voice is, as programs judge it; see :mod:`glottis.evaluation.run`."""
