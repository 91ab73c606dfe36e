"""How WaveNet's weights lie in memory: tiles of outputs, in the order in which they are read."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from glottis.kernels.wavenet import BLOCK, Array, Precision

# Numbers in a register of this processor, and outputs that are summed up at once, in eight of them.
LANES = 16 if llvm.get_host_cpu_features().get("avx512f") else 8
TILE = 8 * LANES

Flat = NDArray[Any]


def padded_size(size: int) -> int:
    return -(-size // TILE) * TILE


def block_length(dilation: int) -> int:
    """Samples for which a layer's older taps are known at once: a power of 2 that divides."""
    return min(BLOCK, dilation & -dilation)


def aligned_zeros(rows: int, columns: int) -> Array:
    """``[rows, columns]`` whose rows begin at cache lines, so that no load touches two of them."""
    columns = -(-columns // LANES) * LANES
    return aligned(np.zeros(rows * columns, np.float32)).reshape(rows, columns)


def aligned(array: Flat) -> Flat:
    room = np.zeros(array.size + 64 // array.itemsize, array.dtype)
    shift = -room.ctypes.data % 64 // array.itemsize
    aligned = room[shift : shift + array.size]
    aligned[:] = array
    return aligned


class Matrices:
    """Collects matrices in tiles, in the order in which they are read."""

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self.width = TILE // 2 if precision == "bfloat16" else TILE
        self._pieces: list[Flat] = []
        self._scales: list[Array] = []
        self._sizes = [0, 0]

    def add(self, matrix: Array) -> tuple[int, int]:
        """Append ``[outputs, inputs]``: -> where its weights and its scales begin."""
        outputs, inputs = matrix.shape
        padded = np.zeros((padded_size(outputs), inputs), np.float32)
        padded[:outputs] = matrix
        scales = np.ones(len(padded), np.float32)
        if self.precision == "int8":
            scales = (np.maximum(np.abs(padded).max(1), 1e-12) / 127).astype(np.float32)
            padded = np.rint(padded / scales[:, None])
        tiles = np.ascontiguousarray(padded.reshape(-1, TILE, inputs).transpose(0, 2, 1))
        if self.precision == "int8":
            piece: Flat = tiles.astype(np.int8)
        elif self.precision == "bfloat16":
            piece = in_pairs(tiles)
        else:
            piece = tiles
        place = self._sizes[0], self._sizes[1]
        self._pieces.append(piece.reshape(-1))
        self._scales.append(scales)
        self._sizes[0] += piece.size
        self._sizes[1] += scales.size
        return place

    def joined(self) -> tuple[Flat, Array]:
        return aligned(np.concatenate(self._pieces)), aligned(np.concatenate(self._scales))


def in_pairs(tiles: Array) -> NDArray[np.uint32]:
    """``[..., TILE]`` float32 -> words ``[..., TILE / 2]``, two weights of 16 bits in each.

    The low half is the bfloat16 nearest to its weight. The high half is chosen so that the whole
    word, read as a float32, is nearest to the other weight: half a bfloat16's step at most, as if
    it had been rounded by itself.
    """
    vectors = tiles.reshape(*tiles.shape[:-1], -1, 2, LANES).view(np.uint32).astype(np.int64)
    high, low = vectors[..., 0, :], vectors[..., 1, :]
    low = ((low + 0x7FFF + ((low >> 16) & 1)) >> 16) & 0xFFFF
    magnitude = ((high & 0x7FFFFFFF) - low + 0x8000) >> 16
    high = ((high >> 31) << 15) | np.clip(magnitude, 0, 0x7F7F)
    words = (high << 16 | low).astype(np.uint32)
    return words.reshape(*tiles.shape[:-1], TILE // 2)
