"""Loading a voice's graph, quickly and with errors that say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glottis.errors import InputError
from glottis.voice.embedded import embedded


def open_session(path: Path, threads: int, simplify: bool, second: bool = False) -> Any:
    """The graph in ``path``, ready to run on so many threads.

    ``simplify`` lets onnxruntime rewrite it first, for graphs that others wrote; ``second`` opens
    the graph that is embedded in the file.

    Raises:
        InputError: the file cannot be read, is a Git LFS pointer, truncated or no graph, or has no
            second one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Planning which buffers can share memory takes longer than everything else in loading a graph
    # of a thousand nodes (0.45 s of 0.55 s) and saves nothing that could be measured.
    options.enable_mem_reuse = False
    if not simplify:
        # A graph of ours has nothing to gain: it speaks as fast without being rewritten, loads in
        # a quarter of the time, and its weights stay in memory as small as they are stored.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with open(path, "rb") as file:
            head = file.read(64)
        if head.startswith(b"version https://git-lfs"):
            raise InputError(f"{path} is a Git LFS pointer, not the voice; run 'git lfs pull'")
        graph = embedded(path.read_bytes()) if second else str(path)
        if graph is None:
            raise InputError(
                f"the voice {path} does not convert (glottis export --conversion makes one that "
                "does, from a VITS of several speakers)"
            )
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # onnxruntime's errors have no common class of their own.
        if isinstance(error, MemoryError):
            raise
        size = path.stat().st_size
        raise InputError(
            f"{path} cannot be loaded ({size:,} bytes): it is truncated, or not an ONNX graph; "
            f"copy it again ({str(error)[:200]})"
        ) from error
