"""TextGrid, HTS labels and CTM."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from glottis.corpus.labels import Interval, ctm, hts_label, text_grid, tiled

edges = st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True).map(sorted)


def intervals(places: list[int]) -> list[Interval]:
    pairs = zip(places[::2], places[1::2], strict=False)
    return [Interval(a / 100, b / 100, f"p{k}") for k, (a, b) in enumerate(pairs)]


@given(edges)
def test_tiles_cover_everything_once(places: list[int]) -> None:
    given_, whole = intervals(places), tiled(intervals(places), 4.5, "sil")
    assert whole[0].start == 0
    assert whole[-1].end == 4.5
    assert all(a.end == b.start for a, b in pairwise(whole))
    assert [tile for tile in whole if tile.label != "sil"] == given_


def test_a_text_grid_holds_its_tiers_with_quotes_doubled() -> None:
    said = [Interval(0.1, 0.35, 'say "aɪ"')]
    grid = text_grid({"words": said, "phones": said}, 0.5)
    assert grid.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n')
    assert re.findall(r'name = "(\w+)"', grid) == ["words", "phones"]
    assert grid.count("intervals: size = 3") == 2
    assert 'text = "say ""aɪ"""' in grid
    assert [float(x) for x in re.findall(r"intervals \[\d\]:\s+xmin = ([\d.]+)", grid)] == [
        0.0, 0.1, 0.35, 0.0, 0.1, 0.35,
    ]  # fmt: skip


def test_labels_count_in_hundred_nanoseconds_and_ctm_in_seconds() -> None:
    said = [Interval(0.1, 0.355, "a b"), Interval(0.355, 0.5, "c")]
    assert hts_label(said, 0.5, "sil") == "0 1000000 sil\n1000000 3550000 a_b\n3550000 5000000 c\n"
    assert ctm("my id", said) == "my_id 1 0.100 0.255 a_b\nmy_id 1 0.355 0.145 c\n"
