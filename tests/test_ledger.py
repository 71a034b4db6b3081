"""Every lost picture is noticed, by the next one's number or by a heartbeat."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.frame import Frame
from stream.ledger import Ledger, percentiles
from stream.wire import FrameMessage, Heartbeat, Stamp

FRAME = Frame(planes=(np.zeros((2, 2), np.uint8),))


def picture(seq, stream="a" * 32, capture_ns=0):
    stamp = Stamp(stream=stream, seq=seq, capture_ns=capture_ns, publish_ns=0, wall_ns=0, boot="b")
    return FrameMessage(stamp=stamp, frame=FRAME)


def beat(last, stream="a" * 32, ended=False):
    return Heartbeat(stream=stream, last_seq={"frame": last}, publish_ns=0, wall_ns=0, ended=ended)


@given(st.integers(0, 5), st.lists(st.booleans(), max_size=50), st.lists(st.integers(0, 50), max_size=5))
def test_received_and_lost_are_all_that_was_sent(start, arrives, beats_after):
    ledger = Ledger(topic="frame")
    ledger.note(picture(start), now_ns=0, boot="")
    for number, arrived in enumerate(arrives):
        seq = start + 1 + number
        if arrived:
            ledger.note(picture(seq), now_ns=0, boot="")
        if number in beats_after:
            ledger.note(beat(seq), now_ns=0, boot="")
    ledger.note(beat(start + len(arrives), ended=True), now_ns=0, boot="")
    assert ledger.received + ledger.lost == 1 + len(arrives)
    assert ledger.lost == arrives.count(False)
    assert ledger.ended


def test_whoever_joins_late_has_lost_nothing():
    ledger = Ledger(topic="frame")
    ledger.note(picture(1000), now_ns=0, boot="")
    assert ledger.lost == 0


def test_a_heartbeat_before_the_first_picture_counts_from_there():
    ledger = Ledger(topic="frame")
    ledger.note(beat(4), now_ns=0, boot="")
    assert ledger.note(picture(7), now_ns=0, boot="") == 2


def test_another_stream_starts_afresh():
    ledger = Ledger(topic="frame")
    ledger.note(picture(9), now_ns=0, boot="")
    ledger.note(picture(0, stream="c" * 32), now_ns=0, boot="")
    assert (ledger.lost, ledger.restarts, ledger.received) == (0, 1, 2)


def test_repeated_numbers_are_counted_apart():
    ledger = Ledger(topic="frame")
    for seq in (5, 5, 3):
        ledger.note(picture(seq), now_ns=0, boot="")
    assert (ledger.received, ledger.repeated) == (1, 2)


def test_latency_is_told_for_the_same_host_alone():
    ledger = Ledger(topic="frame")
    ledger.note(picture(0, capture_ns=1_000_000), now_ns=3_000_000, boot="b")
    assert ledger.percentiles() == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    ledger = Ledger(topic="frame")
    ledger.note(picture(0), now_ns=3_000_000, boot="another")
    assert ledger.percentiles() is None
    assert percentiles([]) is None
