"""Monotonic alignment search: laws that every form obeys, and what breaks the peers."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glottis.kernels import choice, mas, mas_blocks, mas_with_score, search

KINDS = search.available()
every_kind = pytest.mark.parametrize("kind", KINDS)


def alignments(text: int, frames: int) -> list[np.ndarray]:
    """Every way to give ``frames`` frames to ``text`` tokens, one at least to each."""
    cuts = itertools.combinations(range(1, frames), text - 1)
    return [np.diff([0, *cut, frames]) for cut in cuts]


def score(log_prob: np.ndarray, durations: np.ndarray) -> float:
    token = np.repeat(np.arange(len(durations)), durations)
    return float(log_prob[token, np.arange(len(token))].astype(np.float64).sum())


def random_batch(
    seed: int, batch: int = 4, text: int = 23, frames: int = 150
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cells = rng.standard_normal((batch, text, frames)).astype(np.float32)
    text_lengths = rng.integers(1, text + 1, batch)
    return cells, text_lengths, rng.integers(text_lengths, frames + 1)


def test_numba_is_what_auto_takes_here() -> None:
    assert KINDS[-1] == "reference"
    assert "numba" in KINDS


@every_kind
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_alignment_scores_higher(kind: str, data: st.DataObject) -> None:
    frames = data.draw(st.integers(1, 8))
    text = data.draw(st.integers(1, frames))
    # Small integers are exact in any order of addition, and tie often.
    cells = np.array(
        data.draw(st.lists(st.integers(-3, 3), min_size=text * frames, max_size=text * frames)),
        dtype=np.float32,
    ).reshape(1, text, frames)
    found = mas(cells, kind=kind)[0]
    assert found.sum() == frames
    assert found.min() >= 1
    scores = [score(cells[0], each) for each in alignments(text, frames)]
    assert score(cells[0], found) == max(scores)


@every_kind
@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(0, 5),
    text=st.integers(1, 40),
    extra=st.integers(0, 160),
    seed=st.integers(0, 1000),
    text_fastest=st.booleans(),
)
def test_forms_agree_to_the_last_bit(
    kind: str, batch: int, text: int, extra: int, seed: int, text_fastest: bool
) -> None:
    cells, text_lengths, frame_lengths = random_batch(seed, batch, text, text + extra)
    if seed % 2:
        cells = np.round(cells)  # ties everywhere
    expected = mas(cells, text_lengths, frame_lengths, kind="reference")
    if text_fastest:
        cells = np.ascontiguousarray(cells.transpose(0, 2, 1)).transpose(0, 2, 1)
    found = mas(cells, text_lengths, frame_lengths, kind=kind)
    assert found.dtype == np.int64
    assert found.shape == (batch, text)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found.sum(1), frame_lengths)
    beyond = np.arange(text) >= text_lengths[:, None]
    assert not found[beyond].any()


@every_kind
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "text fastest", "every second", "backwards"])
def test_any_type_and_strides_in_torch(kind: str, dtype: str, layout: str) -> None:
    cells, text_lengths, frame_lengths = random_batch(3)
    tensor = torch.from_numpy(cells).to(getattr(torch, dtype))
    expected = mas(tensor.double().numpy(), text_lengths, frame_lengths, kind="reference")
    if layout == "text fastest":
        tensor = tensor.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "every second":
        tensor = tensor.repeat_interleave(2, dim=2)[:, :, ::2]
    elif layout == "backwards":
        tensor = tensor.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    before = tensor.clone()
    tensor.requires_grad_()
    found = mas(tensor, torch.from_numpy(text_lengths), torch.from_numpy(frame_lengths), kind=kind)
    assert found.dtype == torch.int64
    assert not found.requires_grad
    np.testing.assert_array_equal(found.numpy(), expected)
    assert torch.equal(tensor, before), "the input was modified"


@every_kind
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_any_type_in_numpy_even_when_read_only(kind: str, dtype: type) -> None:
    cells, text_lengths, frame_lengths = random_batch(4)
    cells = cells.astype(dtype)[:, ::-1, ::-1]
    cells.flags.writeable = False
    found = mas(cells, text_lengths, frame_lengths, kind=kind)
    expected = mas(cells.astype(np.float64), text_lengths, frame_lengths, kind="reference")
    np.testing.assert_array_equal(found, expected)


@every_kind
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 3e38])
def test_what_lies_in_padding_does_not_matter(kind: str, poison: float) -> None:
    cells, text_lengths, frame_lengths = random_batch(5)
    expected = mas(cells, text_lengths, frame_lengths, kind=kind)
    for item, (text, frames) in enumerate(zip(text_lengths, frame_lengths, strict=True)):
        cells[item, text:] = poison
        cells[item, :, frames:] = poison
    np.testing.assert_array_equal(mas(cells, text_lengths, frame_lengths, kind=kind), expected)


@every_kind
def test_a_tie_stays_on_the_current_token(kind: str) -> None:
    # All alignments score the same: going back from the end, the last token keeps what it can.
    assert mas(np.zeros((1, 3, 7)), kind=kind).tolist() == [[1, 1, 5]]


@every_kind
def test_one_token_takes_every_frame_and_as_many_tokens_one_each(kind: str) -> None:
    rng = np.random.default_rng(0)
    assert mas(rng.standard_normal((1, 1, 9)), kind=kind).tolist() == [[9]]
    assert mas(rng.standard_normal((1, 9, 9)), kind=kind).tolist() == [[1] * 9]
    assert mas(rng.standard_normal((1, 1, 1)), kind=kind).tolist() == [[1]]


@every_kind
@pytest.mark.parametrize("shape", [(0, 5, 9), (0, 0, 0), (0, 3, 0)])
def test_an_empty_batch_is_fine(kind: str, shape: tuple[int, ...]) -> None:
    assert mas(np.zeros(shape), kind=kind).shape == shape[:2]
    assert mas(torch.zeros(shape), [], [], kind=kind).shape == shape[:2]


@every_kind
def test_minus_infinity_forbids_a_cell(kind: str) -> None:
    cells = np.zeros((1, 3, 8), dtype=np.float32)
    cells[0, 0, 2:] = -np.inf
    cells[0, 1, 5:] = -np.inf
    assert mas(cells, kind=kind).tolist() == [[1, 1, 6]]
    cells[0, 2, :5] = -np.inf
    cells[0, 1, 0] = -np.inf
    assert mas(cells, kind=kind)[0].tolist() in ([1, 4, 3], [2, 3, 3])


@every_kind
def test_sums_beyond_a_sentinel_still_give_the_best_path(kind: str) -> None:
    # The peers mark unreachable cells with -1e9, which real scores pass here.
    rng = np.random.default_rng(1)
    cells = rng.standard_normal((1, 4, 9)).astype(np.float32) * 1e9 - 4e9
    best = max(alignments(4, 9), key=lambda each: score(cells[0], each))
    np.testing.assert_array_equal(mas(cells, kind=kind)[0], best)


@every_kind
def test_a_flat_lattice_far_from_zero_is_searched_exactly(kind: str) -> None:
    # Near initialisation all tokens score nearly the same, some -200 nats a frame: float32 sums
    # lose the differences, and peers then move thousands of frames.
    rng = np.random.default_rng(2)
    cells = (-200 + 1e-3 * rng.standard_normal((2, 80, 500))).astype(np.float32)
    exact = mas(cells.astype(np.float64), kind="reference")
    np.testing.assert_array_equal(mas(cells, kind=kind), exact)
    assert (_float32_search(cells[0]) != exact[0]).any(), "the example no longer shows the defect"


def _float32_search(cells: np.ndarray) -> np.ndarray:
    text, frames = cells.shape
    best = np.full((text, frames), -np.inf, np.float32)
    best[0, 0] = cells[0, 0]
    for j in range(1, frames):
        stay = best[:, j - 1]
        best[:, j] = cells[:, j] + np.maximum(stay, np.concatenate([[-np.inf], stay[:-1]]))
    durations, token = np.zeros(text, np.int64), text - 1
    for j in range(frames - 1, 0, -1):
        durations[token] += 1
        token -= token > 0 and best[token - 1, j - 1] > best[token, j - 1]
    durations[token] += 1
    return durations


@every_kind
def test_adding_to_a_whole_frame_changes_nothing(kind: str) -> None:
    rng = np.random.default_rng(6)
    cells = rng.integers(-9, 9, (3, 12, 60)).astype(np.float64)
    shifted = cells + rng.integers(-99, 99, (3, 1, 60))
    np.testing.assert_array_equal(mas(cells, kind=kind), mas(shifted, kind=kind))


@every_kind
@pytest.mark.parametrize(
    ("text_lengths", "frame_lengths", "message"),
    [
        ([5, 9, 5], [8, 8, 8], r"batch item 1: 9 tokens cannot be aligned with 8 frames"),
        ([5, 5, 0], [8, 8, 8], r"batch item 2: text length 0"),
        ([5, 5, 5], [0, 8, 8], r"batch item 0: frame length 0"),
        ([5, 5, -1], [8, 8, 8], r"batch item 2: text length -1"),
        ([5, 5, 13], [20, 20, 20], r"batch item 2: text length 13 is not between 1 and 12"),
        ([5, 5, 5], [20, 21, 20], r"batch item 1: frame length 21 is not between 1 and 20"),
        ([5, 5], [20, 20, 20], r"text_lengths must have shape \[3\]"),
        ([5.0, 5.0, 5.0], [20, 20, 20], r"text_lengths must be integers"),
    ],
)
def test_wrong_lengths_are_refused(
    kind: str, text_lengths: list[int], frame_lengths: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mas(np.zeros((3, 12, 20), np.float32), text_lengths, frame_lengths, kind=kind)


@every_kind
def test_more_text_than_frames_is_an_error_where_peers_crash(kind: str) -> None:
    with pytest.raises(ValueError, match="batch item 0: 1068 tokens"):
        mas(np.zeros((14, 1068, 829), np.float32), kind=kind)


@every_kind
@pytest.mark.parametrize("text_fastest", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (4, 7), (0, 18), (8, 0), (8, 18)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_inside_the_lengths_names_the_item(
    kind: str, text_fastest: bool, place: tuple[int, int], value: float
) -> None:
    cells = np.zeros((3, 12, 20), np.float32)
    cells[(2, *place)] = value
    if text_fastest:
        cells = np.ascontiguousarray(cells.transpose(0, 2, 1)).transpose(0, 2, 1)
    with pytest.raises(ValueError, match="batch item 2: a NaN"):
        mas(cells, [9, 9, 9], [19, 19, 19], kind=kind)


@every_kind
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_nan_is_found_anywhere_whatever_follows(kind: str, data: st.DataObject) -> None:
    # Cells from which no end can be reached are looked at too, and -inf after it hides nothing.
    text = data.draw(st.integers(1, 75))
    frames = text + data.draw(st.integers(0, 60))
    place = data.draw(st.tuples(st.integers(0, text - 1), st.integers(0, frames - 1)))
    cells = np.random.default_rng(0).standard_normal((1, text, frames)).astype(np.float32)
    cells[0, :, place[1] + 1 :] = -np.inf if data.draw(st.booleans()) else 0
    cells[(0, *place)] = data.draw(st.sampled_from([np.nan, np.inf]))
    with pytest.raises(ValueError, match="batch item 0: a NaN"):
        mas(cells, kind=kind)


def test_strips_of_every_width_and_their_neighbours() -> None:
    rng = np.random.default_rng(11)
    cells = rng.integers(-2, 3, (70, 70, 90)).astype(np.float32)  # ties often
    text_lengths = np.arange(1, 71)
    frame_lengths = np.minimum(90, text_lengths + rng.integers(0, 40, 70))
    lengths = text_lengths, frame_lengths
    expected = mas_with_score(cells, *lengths, kind="reference")
    for dtype in (np.float32, np.float64):
        found = mas_with_score(cells.astype(dtype), *lengths, kind=KINDS[0])
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@every_kind
def test_no_path_with_a_finite_score_names_the_item(kind: str) -> None:
    cells = np.zeros((2, 3, 9), np.float32)
    cells[1, :, 4] = -np.inf
    with pytest.raises(ValueError, match="batch item 1: every path"):
        mas(cells, kind=kind)


@pytest.mark.parametrize("cells", [np.zeros((3, 4)), np.zeros((1, 3, 4), np.int64)])
def test_what_is_no_lattice_is_refused(cells: np.ndarray) -> None:
    with pytest.raises(ValueError, match="log_prob must be"):
        mas(cells)


def test_unknown_kinds_are_refused_and_the_choice_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.zeros((1, 2, 3))
    with pytest.raises(ValueError, match="no kind 'cuda'"):
        mas(cells, kind="cuda")
    monkeypatch.setattr(choice, "_said", set())
    with caplog.at_level(logging.INFO, "glottis.kernels"):
        mas(cells)
        mas(cells)
    assert [KINDS[0] in record.getMessage() for record in caplog.records] == [True]


def test_a_kind_that_cannot_run_raises_and_never_falls_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "available", lambda: ("reference",))
    with pytest.raises(ValueError, match="cannot run as 'numba'"):
        mas(np.zeros((1, 2, 3)), kind="numba")
    assert mas(np.zeros((1, 2, 3))).tolist() == [[1, 2]]


def test_threads_do_not_change_the_result() -> None:
    from glottis.kernels import mas_numba

    cells, text_lengths, frame_lengths = random_batch(9, batch=9, text=40, frames=700)
    one = mas_numba.search(cells, text_lengths, frame_lengths, threads=1)
    for threads in (2, 3, 16):
        more = mas_numba.search(cells, text_lengths, frame_lengths, threads=threads)
        np.testing.assert_array_equal(one[0], more[0])
        np.testing.assert_array_equal(one[1], more[1])


def test_the_dispatcher_imports_without_torch_and_numba() -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'numba'): sys.modules[name] = None\n"
        "import numpy as np\n"
        "from glottis.kernels import mas\n"
        "print(mas(np.zeros((1, 2, 3)), kind='reference').tolist())\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[[1, 2]]", result.stderr


def test_it_runs_where_no_compiled_code_can_be_kept(tmp_path: object) -> None:
    # As in a container with a read-only file system: numba finds no folder for its cache.
    program = (
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from glottis.kernels import mas\n"
        "print(mas(np.zeros((1, 2, 3)), kind='numba').tolist())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ)
    )
    assert result.stdout.strip() == "[[1, 2]]", result.stderr


@settings(max_examples=60, deadline=None)
@given(
    text=st.sampled_from([1, 7, 8, 9, 31, 32, 33, 40, 64, 71]),
    extra=st.sampled_from([0, 1, 7, 8, 30, 90]),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_strips_of_every_width_give_what_the_reference_gives(
    text: int, extra: int, seed: int, data: st.DataObject
) -> None:
    pytest.importorskip("numba")
    frames = text + extra
    rng = np.random.default_rng(seed)
    cells = rng.integers(-3, 3, (1, text, frames)).astype([np.float32, np.float64][seed % 2])
    cells[rng.random(cells.shape) < 0.02] = -np.inf  # may leave no path at all
    lengths = [text], [frames]
    try:
        expected = mas_with_score(cells, *lengths, kind="reference")
    except ValueError:
        with pytest.raises(ValueError, match="every path"):
            mas(cells, *lengths, kind="numba")
        return
    cells_with_margin = np.full((1, text + 2, frames + 3), np.nan, cells.dtype)
    cells_with_margin[:, :text, :frames] = cells
    turned = np.ascontiguousarray(cells.transpose(0, 2, 1)).transpose(0, 2, 1)
    for layout in (cells, turned, cells_with_margin):
        found = mas_with_score(layout, *lengths, kind="numba")
        np.testing.assert_array_equal(found[0][:, :text], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    # In blocks that start anywhere within reach, and hold what is out of reach or not.
    blocks, first = [], 0
    while first < frames:
        count = data.draw(st.integers(1, 40))
        last = min(first + count, frames)
        # Not the least that will do, now and then.
        reach = max(0, text - frames + first)
        low = data.draw(st.sampled_from([0, reach // 8 * 8, reach]))
        high = data.draw(st.integers(min(last, text), text))
        blocks.append((low, cells[0, low:high, first:last].T))
        first = last
    durations, score = mas_blocks(blocks, text, frames, kind="numba")
    np.testing.assert_array_equal(durations, expected[0][0])
    assert score == expected[1][0]
    # A NaN anywhere inside the lengths is found, in the corners out of reach too.
    spoilt = cells.copy()
    spoilt[0, rng.integers(text), rng.integers(frames)] = rng.choice([np.nan, np.inf])
    for layout in (spoilt, np.ascontiguousarray(spoilt.transpose(0, 2, 1)).transpose(0, 2, 1)):
        with pytest.raises(ValueError, match="a NaN or"):
            mas(layout, kind="numba")
