from stream.errors import EXIT_DAMAGED, EXIT_DONE
from stream.metrics import Meter, Report, limiting_thread


def report(**fields):
    return Report(source="a.mkv", result="b.mkv", **fields)


def test_a_whole_film_is_done_and_a_damaged_one_says_so():
    assert report(frames_in=5, frames_out=5).exit_code == EXIT_DONE
    for damage in ("frames_damaged", "frames_lost", "packets_damaged", "packets_lost", "truncated"):
        assert report(frames_in=5, frames_out=5, **{damage: 1}).exit_code == EXIT_DAMAGED
    assert report(frames_in=5, frames_out=4).exit_code == EXIT_DAMAGED


def test_carried_frames_are_no_damage_but_named():
    carried = report(frames_in=4, frames_out=4, frames_carried=2)
    assert carried.exit_code == EXIT_DONE
    assert any("2 frames whose colours were carried" in line for line in carried.lines())


def test_the_thread_that_works_longest_is_the_limit():
    assert limiting_thread({"decode": 1.0, "prepare": 0.5, "network": 0.7, "encode": 1.1}) == "engine"
    assert limiting_thread({"decode": 1.0, "encode": 3.0}) == "encode"
    assert limiting_thread({}) == ""


def test_stages_are_milliseconds_a_frame():
    meter = Meter()
    meter.seconds = {"decode": 0.5, "encode": 1.0}
    meter.note_frame()
    measured = report(frames_in=10, frames_out=10)
    measured.measure(meter)
    assert measured.stages == {"decode": 50.0, "encode": 100.0}
    assert measured.peak_rss_mb > 1
    assert {"frames_in", "frames_out", "seconds", "fps", "stages", "limit"} <= set(measured.as_dict())
