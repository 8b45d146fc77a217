import pytest

from retail_platform.reactions.progress import has_read, lag

REACH = {"sales": {0: (0, 100), 1: (40, 50)}, "stock": {0: (0, 0)}}


def test_the_lag_is_what_is_retained_and_not_committed() -> None:
    assert lag(REACH, {}) == 110
    assert lag(REACH, {"sales": {0: 90, 1: 50}}) == 10
    assert lag(REACH, {"sales": {0: 100, 1: 50}}) == 0


@pytest.mark.parametrize(
    ("committed", "read"),
    [
        ({"sales": {0: 80, 1: 45}}, True),
        ({"sales": {0: 79, 1: 45}}, False),
        ({"sales": {0: 100}}, False),
        ({}, False),
    ],
    ids=["all", "one is missing", "a partition was never read", "nothing"],
)
def test_what_was_there_at_the_last_look_is_read_or_not(committed: dict[str, dict[int, int]], read: bool) -> None:
    assert has_read(REACH, committed, {"sales": {0: 80, 1: 45}, "stock": {0: 0}}) is read


def test_a_partition_that_came_since_was_empty_then() -> None:
    assert has_read({**REACH, "new": {0: (0, 7)}}, {"sales": {0: 80, 1: 45}}, {"sales": {0: 80, 1: 45}})
