"""Times of pictures that rise, and an honest count of those that didn't come."""

from fractions import Fraction

import pytest

from stream.film import ReadTally
from stream.timeline import Timeline

TICK = Fraction(1, 1000)


def test_a_clean_film_keeps_its_times() -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    for pts in (0, 80, 40, 120):
        timeline.expect(pts)
    for pts in (0, 40, 80, 120):
        timeline.arrive(pts, interlaced=False)
        assert timeline.place(pts, None, 40, TICK) == pts
    timeline.header_end_s = 0.16
    timeline.end()
    assert tally == ReadTally()


def test_what_was_due_and_never_came_is_lost() -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    for pts in (0, 40, 80, 120, 160):
        timeline.expect(pts)
    timeline.arrive(0, interlaced=False)
    timeline.arrive(120, interlaced=False)
    assert tally.frames_lost == 2
    timeline.end()
    assert tally.frames_lost == 3


def test_a_picture_out_of_order_is_not_lost_after_all() -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    for pts in (0, 40, 80):
        timeline.expect(pts)
    for pts in (0, 80, 40):
        timeline.arrive(pts, interlaced=False)
    timeline.end()
    assert tally.frames_lost == 0


def test_single_fields_are_not_counted_as_pictures() -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    for pts in (0, 20, 40, 60):
        timeline.expect(pts)
    for pts in (0, 40):
        timeline.arrive(pts, interlaced=True)
    timeline.end()
    assert tally.frames_lost == 0


@pytest.mark.parametrize(
    ("times", "placed", "repaired"),
    [
        ([(0, 0), (40, 40), (80, 80)], [0, 40, 80], 0),
        ([(None, 0), (None, 40), (None, 80)], [0, 40, 80], 3),
        ([(None, None), (None, None)], [0, 40], 2),
        ([(100, None), (None, None), (180, None)], [100, 140, 180], 1),
        ([(100, None), (100, None), (90, None), (200, None)], [100, 101, 102, 200], 2),
    ],
)
def test_times_that_are_missing_or_fall_back_are_repaired(
    times: list[tuple[int | None, int | None]], placed: list[int], repaired: int
) -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    assert [timeline.place(pts, dts, 40, TICK) for pts, dts in times] == placed
    assert tally.times_repaired == repaired


@pytest.mark.parametrize(("header_end_s", "truncated"), [(1.0, False), (1.07, False), (1.5, True), (None, False)])
def test_a_film_that_ends_before_its_header_says_is_truncated(header_end_s: float | None, truncated: bool) -> None:
    tally = ReadTally()
    timeline = Timeline(tally, Fraction(25))
    timeline.place(960, None, 40, TICK)
    timeline.header_end_s = header_end_s
    timeline.end()
    assert tally.truncated is truncated
    assert tally.missing_s == pytest.approx(0.5 if truncated else 0.0)
