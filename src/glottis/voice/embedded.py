"""A second graph inside a voice's file, which takes its weights from the first.

What the second graph has of its own is an ONNX model without the weights that both compute with. It
lies at the end of the file, in a field that no version of the format knows, so that programs which
read the first graph skip it, followed by a field with the names of the weights that it shares.

The format of the file is protobuf's: fields of a number, a kind and contents, in any order. Two
messages written one after the other are one message with the lists of both, which is how the second
graph gets the weights back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

# Of ``ModelProto``, ``GraphProto`` and ``TensorProto`` in onnx.proto; the last two are ours.
GRAPH, INITIALIZER, TENSOR_NAME = 7, 5, 8
EMBEDDED, SHARED = 1000, 1001


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, contents and the whole of each field; contents of plain numbers are empty.

    Raises:
        ValueError: the message is cut off, or is none.
    """
    at = 0
    while at < len(message):
        start = at
        key, at = _number(message, at)
        kind, content = key & 7, message[:0]
        if kind == 0:
            _, at = _number(message, at)
        elif kind == 2:
            size, at = _number(message, at)
            content, at = message[at : at + size], at + size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"not protobuf: a field of kind {kind} at byte {start}")
        if at > len(message):
            raise ValueError(f"cut off in the field at byte {start}")
        yield key >> 3, content, message[start:at]


def embed(voice: bytes, graph: bytes, shared: Collection[str]) -> bytes:
    """The file of a voice with a second graph, whose ``shared`` weights are in the first."""
    return voice + field(EMBEDDED, graph) + field(SHARED, "\n".join(sorted(shared)).encode())


def embeds(voice: bytes) -> bool:
    """Whether the file of a voice holds a second graph; errors as :func:`embedded`."""
    return any(number == EMBEDDED for number, _, _ in fields(memoryview(voice)))


def embedded(voice: bytes) -> bytes | None:
    """The second graph with all its weights, as an ONNX model; None when there is none.

    Raises:
        ValueError: the file is cut off, no ONNX model, or lacks a weight that is shared.
    """
    own, names, first = None, b"", None
    for number, content, _ in fields(memoryview(voice)):
        if number == EMBEDDED:
            own = content
        elif number == SHARED:
            names = bytes(content)
        elif number == GRAPH:
            first = content
    if own is None or first is None:
        return None
    missing = set(names.decode().split("\n")) - {""}
    weights = []
    for number, content, whole in fields(first):
        if number == INITIALIZER:
            name = next(
                bytes(value).decode() for n, value, _ in fields(content) if n == TENSOR_NAME
            )
            if name in missing:
                missing.remove(name)
                weights.append(whole)
    if missing:
        raise ValueError(f"the weights {', '.join(sorted(missing)[:3])} are not there")
    return bytes(own) + field(GRAPH, b"".join(weights))


def field(number: int, content: bytes) -> bytes:
    """A field that holds bytes."""
    return _written(number << 3 | 2) + _written(len(content)) + content


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise ValueError(f"cut off in the number at byte {at}")
        byte = message[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at


def _written(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
