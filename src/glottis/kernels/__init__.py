"""Compiled kernels behind one dispatcher each.

Every kernel has a reference (numpy, float64, obvious) and fast forms that agree with it;
``kind="auto"`` takes the fastest that can run. Importing this package needs neither torch nor
numba.
"""

from glottis.kernels.search import (
    mas,
    mas_blocks,
    mas_gaussian,
    mas_path,
    mas_with_score,
    soft,
)
from glottis.kernels.trajectory import (
    WINDOWS,
    mlpg,
    mlpg_colour,
    mlpg_log_determinant,
    mlpg_precisions,
    mlpg_solve,
    mlpg_windowed,
)
from glottis.kernels.trajectory_stream import TrajectoryStream

__all__ = [
    "WINDOWS",
    "TrajectoryStream",
    "mas",
    "mas_blocks",
    "mas_gaussian",
    "mas_path",
    "mas_with_score",
    "mlpg",
    "mlpg_colour",
    "mlpg_log_determinant",
    "mlpg_precisions",
    "mlpg_solve",
    "mlpg_windowed",
    "soft",
]
