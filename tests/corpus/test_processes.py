"""The parallel map: in order, reading little ahead, and loud when something breaks."""

import os
import time
from collections.abc import Iterator

import pytest

from glottis.corpus.processes import choose_jobs, ordered_map
from glottis.errors import InputError


def square_slowly(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def fail_at_twenty(number: int) -> int:
    if number == 20:
        raise InputError("twenty")
    return number


def die_at_twenty(number: int) -> int:
    if number == 20:
        os._exit(9)
    return number


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_the_order_is_kept(jobs: int) -> None:
    assert list(ordered_map(square_slowly, range(100), jobs)) == [n * n for n in range(100)]
    assert list(ordered_map(square_slowly, [], jobs)) == []


@pytest.mark.parametrize(("jobs", "ahead"), [(1, 1), (2, 80)])
def test_items_are_read_a_little_ahead_only(jobs: int, ahead: int) -> None:
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = ordered_map(square_slowly, endless(), jobs)
    for count, result in zip(range(1, 200), results, strict=False):
        assert result == count * count
        assert read <= count + ahead
    results.close()


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_raised_where_it_stands(jobs: int) -> None:
    results = ordered_map(fail_at_twenty, range(100), jobs)
    with pytest.raises(InputError, match="twenty"):
        list(results)


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(InputError, match="a process died"):
        list(ordered_map(die_at_twenty, range(100), 2))


def test_the_environment_is_left_as_it_was() -> None:
    before = dict(os.environ)
    list(ordered_map(square_slowly, range(20), 2))
    assert dict(os.environ) == before


def test_jobs() -> None:
    assert choose_jobs(None, 10) == 1  # not worth a process
    assert choose_jobs(4, 1000) == 4
    assert choose_jobs(4, 10) == 2  # no process without work
    assert choose_jobs(4, 0) == 1
    assert choose_jobs(None, 10**6) >= 1
    with pytest.raises(InputError, match="at least 1"):
        choose_jobs(0, 10)
