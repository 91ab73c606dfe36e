"""Compiled kernels behind one dispatcher each.

Every kernel has a reference (numpy, float64, obvious) and fast forms that agree with it;
``kind="auto"`` takes the fastest that can run. Importing this package needs neither torch nor
numba.
"""

from glottis.kernels.search import mas, mas_blocks, mas_path, mas_with_score, soft

__all__ = ["mas", "mas_blocks", "mas_path", "mas_with_score", "soft"]
