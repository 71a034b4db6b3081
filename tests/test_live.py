"""Live sessions for real: films, servers that die and come back, slow sinks, sound, y4m, one behind another."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request
from dataclasses import replace
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import servers
from conftest import grey_planes

from stream import live as live_module
from stream import public, show, spectator, switch
from stream import runtime as runtime_module
from stream.capture import FileSource, UrlSource, info_of
from stream.config import Settings
from stream.control import Controls
from stream.endpoint import resolve
from stream.engine import Engine
from stream.errors import EngineError, InputError, Interrupted, OutputError, UsageError
from stream.frame import Frame
from stream.intake import Intake
from stream.keys import Security, write_keys
from stream.live import Session
from stream.media import probe, read_frames
from stream.newest import Mailbox, Shown, Taken
from stream.pubsub import Publisher, Requester, Subscriber, new_pair
from stream.record import Recorder
from stream.sinks import Lane, Y4mSink
from stream.switch import Setting
from stream.wire import FrameMessage

SMALL = Settings(runtime="torch", short_side=32)
PROGRAM = (sys.executable, "-m", "stream")
FAST = ("--short-side", "32", "--runtime", "torch")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self, wait=None):
        self.shown, self.wait, self.closed = [], wait, False

    def write(self, shown):
        if self.wait:
            self.wait()
        self.shown.append(shown)

    def idle(self):
        pass

    def close(self):
        self.closed = True


def session(source, *sinks, **more):
    made = Session(source, settings=SMALL, **more)
    for number, sink in enumerate(sinks):
        made.add(f"sink {number}", lambda sink=sink: sink)
    return made


def nothing():
    pass


def test_a_film_without_realtime_loses_nothing(clip):
    film, kept = clip("film.mkv", pts=range(40)), Kept()
    report = session(FileSource(name=str(film)), kept).run(nothing)
    assert [shown.frame.pts for shown in kept.shown] == [pts * 40 for pts in range(40)]
    assert (report.frames_in, report.frames_out, report.frames_dropped, report.exit_code) == (40, 40, 0, 0)
    assert kept.closed and all(len(shown.frame.planes) == 3 for shown in kept.shown)
    luma = [frame.luma for frame in read_frames(film)]
    assert all(np.array_equal(shown.frame.luma, was) for shown, was in zip(kept.shown, luma, strict=True))


def test_a_film_in_real_time_keeps_its_pace_and_counts_what_it_drops(clip):
    film = clip("film.mkv", pts=range(60), time_base=Fraction(1, 50), rate=Fraction(50))
    kept = Kept()
    started = time.monotonic()
    report = session(FileSource(name=str(film), pace=True), kept).run(nothing)
    assert time.monotonic() - started >= 59 / 50
    assert report.frames_in == 60 == report.frames_out + report.frames_dropped
    ages = [shown.taken.capture_ns for shown in kept.shown]
    assert ages == sorted(ages)


def test_a_film_in_real_time_stands_still_while_the_network_is_prepared(clip, monkeypatch):
    opening, seen = live_module.open_beside, []

    def slow(*arguments, tell, **more):
        tell("preparing")
        seen.append(made.numbers())
        time.sleep(0.5)  # longer than the film
        seen.append(time.monotonic_ns())
        return opening(*arguments, tell=tell, **more)

    monkeypatch.setattr(live_module, "open_beside", slow)
    kept = Kept()
    made = session(FileSource(name=str(clip("film.mkv", pts=range(8))), pace=True), kept)
    report = made.run(nothing)
    assert kept.shown[0].frame.pts == 0 and len(kept.shown) > 1
    assert kept.shown[0].taken.capture_ns >= seen[1]  # it came in when the film went on
    assert report.frames_in == 8 == report.frames_out + report.frames_dropped
    assert (seen[0]["preparing"], made.numbers()["preparing"]) == ("preparing", "")


def test_the_mailbox_holds_the_newest():
    box = Mailbox()
    for number in range(5):
        box.put(number)
    assert box.take(1) == 4 and box.dropped == 4 and box.take(0.01) is None
    box.close(InputError("gone"))
    with pytest.raises(InputError):
        box.take(1)
    assert not box.put(1)


def test_a_slow_sink_slows_nobody(clip):
    gate = threading.Event()
    slow, fast = Kept(gate.wait), Kept()
    film = clip("film.mkv", pts=range(60), time_base=Fraction(1, 100), rate=Fraction(100))
    made = session(FileSource(name=str(film), pace=True), slow, fast)
    seen = []

    def check():
        seen.append(len(fast.shown))
        if made.intake.state == "ended":
            gate.set()

    report = made.run(check)
    assert len(fast.shown) == report.frames_out
    assert report.sinks["sink 1"]["dropped"] == 0
    assert report.sinks["sink 0"]["dropped"] == report.frames_out - len(slow.shown)


def test_a_sink_that_dies_does_not_take_the_others_along(clip):
    def die():
        raise OutputError("the disk is full")

    told, kept = [], Kept()
    made = session(FileSource(name=str(clip("film.mkv", pts=range(30)))), Kept(die), kept, tell=told.append)
    report = made.run(nothing)
    assert len(kept.shown) == 30 and report.exit_code == 5
    assert told == ["sink 0: the disk is full"] and report.sinks["sink 0"]["state"] == "the disk is full"
    with pytest.raises(OutputError):
        session(FileSource(name=str(clip("film.mkv", pts=range(30)))), Kept(die)).run(nothing)


@pytest.mark.parametrize(
    ("talk", "address"),
    [
        (servers.http, "http://127.0.0.1:{}/live.ts"),
        (servers.rtsp, "rtsp://127.0.0.1:{}/live"),
        (servers.rtmp, "rtmp://127.0.0.1:{}/live/key"),
    ],
)
def test_a_server_that_dies_and_comes_back_is_found_again(clip, talk, address):
    options = {"g": "12", "tune": "zerolatency", "preset": "ultrafast"}
    talk = talk(clip("film.ts", size=(160, 120), pts=range(600), options=options))
    kept = Kept()
    with servers.serving(talk) as port:
        made = session(UrlSource(name=address.format(port)), kept)
        worker, finished, failure = run_in_thread(made)
        wait_for(lambda: len(kept.shown) > 5)
    wait_for(lambda: made.intake.state == "reconnecting")
    before = len(kept.shown)
    with servers.serving(talk, port):
        wait_for(lambda: len(kept.shown) > before + 5)
        assert made.intake.reconnects >= 1 and made.intake.state == "live"
        times = [shown.frame.pts * shown.frame.time_base for shown in kept.shown]
        assert times == sorted(times) and times[-1] > times[before - 1]
        finished.set()
        worker.join()
    assert isinstance(failure[0], Interrupted)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
@pytest.mark.parametrize("about", [{}, {"ranges": False}, {"length": False}])
def test_a_film_on_a_server_plays_at_its_own_pace_and_ends(clip, name, about):
    if name == "film.ts" and about:
        pytest.skip("nothing tells such a film from an endless stream")
    options = {"movflags": "faststart"} if name == "film.mp4" else {}
    film, kept = clip(name, pts=range(50), container_options=options), Kept()
    started = time.monotonic()
    with servers.serving(servers.download(film, **about)) as port:
        report = session(UrlSource(name=f"http://127.0.0.1:{port}/{name}"), kept).run(nothing)
    assert time.monotonic() - started > 49 / 25
    assert (report.frames_in, report.reconnects, report.exit_code) == (50, 0, 0)
    assert report.frames_out + report.frames_dropped == 50


@pytest.mark.parametrize(
    ("name", "about", "reconnects"),
    [
        ("film.mp4", {}, 0),
        ("film.mp4", {"ranges": False}, 1),
        ("film.mp4", {"refuses": 5}, 1),
        ("film.mkv", {}, 0),
        ("film.mkv", {"refuses": 9}, 1),
        ("film.mkv", {"ranges": False}, 1),
        ("film.mkv", {"ranges": False, "length": False}, 1),
        ("film.mkv", {"ranges": False, "refuses": 5}, 1),
    ],
)
def test_a_film_on_a_server_that_breaks_off_goes_on_where_it_was(clip, name, about, reconnects):
    moved = {"movflags": "faststart"} if name == "film.mp4" else {}
    options = {"g": "12", "preset": "ultrafast"}
    film = clip(name, size=(320, 240), pts=range(100), options=options, container_options=moved)
    kept = Kept()
    with servers.serving(servers.download(film, breaks=1, **about)) as port:
        report = session(UrlSource(name=f"http://127.0.0.1:{port}/{name}"), kept).run(nothing)
    assert (report.reconnects, report.exit_code) == (reconnects, 0)
    assert (report.frames_in, report.lost_s) == (100, 0)
    times = [shown.frame.time_s for shown in kept.shown]
    assert times == sorted(times) and len(set(times)) == len(times)


def test_what_a_film_on_a_server_lost_in_a_break_is_counted_and_said(clip):
    options = {"g": "12", "preset": "ultrafast"}
    film, later = (
        clip(name, size=(320, 240), pts=range(first, 100), options=options)
        for name, first in (("film.mkv", 0), ("later.mkv", 80))
    )
    with servers.serving(servers.download(film, breaks=1, ranges=False, then=later)) as port:
        report = session(UrlSource(name=f"http://127.0.0.1:{port}/film.mkv"), Kept()).run(nothing)
    assert abs(report.lost_s - (100 - report.frames_in) / 25) < 0.02 and report.lost_s > 0.5
    assert f"{report.lost_s:.1f} s of the film were not there any more after a break" in report.lines()


def test_the_sound_of_a_film_begins_with_its_picture(clip):
    film = clip("film.mkv", pts=range(30), audio=["aac"], options={"bf": "8", "b-adapt": "0"})
    intake = Intake(FileSource(name=str(film)), sound=True)
    while intake.mailbox.take(5) is not None:
        pass
    times = [float(packet.pts * packet.time_base) for packet in intake.listen()]
    with av.open(str(film)) as file:
        own = [float(packet.pts * packet.time_base) for packet in file.demux(audio=0) if packet.size]
    assert times == [time_s for time_s in own if time_s >= 0]


def test_a_playlist_that_ends_is_played_once(clip, tmp_path):
    made = show.run(
        show.Plan(source=FileSource(name=str(clip("film.mkv", pts=range(60)))), settings=SMALL, outs=("live.m3u8",)),
        check=nothing, started=lambda address: None, tell=print,
    )  # fmt: skip
    assert made.frames_out == 60
    with servers.serving(servers.folder(tmp_path)) as port:
        report = session(UrlSource(name=f"http://127.0.0.1:{port}/live.m3u8"), Kept()).run(nothing)
    assert (report.frames_in, report.reconnects) == (60, 0)


def run_in_thread(made):
    finished, failure = threading.Event(), []

    def check():
        if finished.is_set():
            raise Interrupted("enough", 2)

    def work():
        try:
            made.run(check)
        except Interrupted as error:
            failure.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    return worker, finished, failure


def wait_for(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_source_that_never_was_is_one_clear_line():
    with pytest.raises(InputError, match="can't be opened"):
        session(UrlSource(name="http://127.0.0.1:9/x"), Kept()).run(nothing)


def test_a_silent_source_is_called_stalled(monkeypatch, clip):
    monkeypatch.setattr("stream.intake.STALL_S", 0.05)
    intake = Intake(FileSource(name=str(clip("film.mkv", pts=[0, 500])), pace=True))
    intake.mailbox.take(5)
    wait_for(lambda: intake.state == "stalled")
    intake.stop()


def test_a_recording_keeps_the_sound_in_step(clip, tmp_path):
    film = clip("film.mkv", pts=range(50), audio=["aac"])
    plan = show.Plan(source=FileSource(name=str(film), pace=True), settings=SMALL, outs=("rec.mkv",))
    report = show.run(plan, check=nothing, started=lambda address: None, tell=print)
    assert report.sinks["rec.mkv"]["state"] == "ok"
    with av.open(str(film)) as a, av.open("rec.mkv") as b:
        sounds = [
            [(float(packet.pts * packet.time_base), bytes(packet)) for packet in one.demux(audio=0) if packet.size]
            for one in (a, b)
        ]
    shift = next(time_s for time_s, data in sounds[0] if data == sounds[1][0][1]) - sounds[1][0][0]
    was = {data: time_s for time_s, data in sounds[0]}
    assert len(sounds[1]) > 0.9 * len(sounds[0])
    assert all(abs(was[data] - time_s) < 0.002 for time_s, data in sounds[1]) and abs(shift) < 0.002
    # Each picture still is at its own time: the greys say which one it is.
    known = {frame.pts: int(frame.luma[0, -1]) for frame in read_frames(film)}
    frames = list(read_frames("rec.mkv"))
    assert len(frames) == report.frames_out > 0
    for frame in frames:
        assert abs(int(frame.luma[0, -1]) - known[min(known, key=lambda pts: abs(pts - frame.time_s * 1000))]) <= 3


@pytest.mark.parametrize(
    ("sound", "name", "held"),
    [
        ("pcm_s16le", "rec.ts", False),  # goes in, as data that nobody plays
        ("pcm_s16le", "live.m3u8", False),
        ("libopus", "rec.mov", False),  # on its list, and refused by its header
        ("libopus", "rec.ts", True),
        ("pcm_s16le", "rec.mov", True),
    ],
)
def test_sound_that_a_recording_cannot_hold_is_said(clip, sound, name, held):
    plan = show.Plan(
        source=FileSource(name=str(clip("film.mkv", pts=range(8), audio=[sound]))), settings=SMALL, outs=(name,)
    )
    if held:
        assert show.run(plan, check=nothing, started=lambda address: None, tell=print).exit_code == 0
        with av.open(name) as recorded:
            assert any(True for _ in recorded.decode(audio=0))
        return
    with pytest.raises(OutputError, match=r"can't hold the source's sound \((opus|pcm_s16le)\); mkv can"):
        show.run(plan, check=nothing, started=lambda address: None, tell=print)


@pytest.mark.parametrize("name", ["rec.mkv", "rec.mp4", "rec.mov"])
def test_the_aac_of_a_transport_stream_is_recorded(clip, name):
    film = clip("film.ts", pts=range(20), audio=["aac"])
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=(name,))
    assert show.run(plan, check=nothing, started=lambda address: None, tell=print).exit_code == 0
    with av.open(name) as recorded:
        assert sum(1 for _ in recorded.decode(audio=0)) > 10


def test_a_recording_may_begin_after_its_source_has_ended(clip):
    made = Session(FileSource(name=str(clip("film.mkv", pts=range(3), audio=["aac"]))), settings=SMALL, sound=True)

    class Late(Recorder):
        def write(self, shown):
            wait_for(lambda: made.intake.state == "ended" or made.intake.frames == 2)
            made.intake.stop()
            return super().write(shown)

    made.add("late", lambda: Late("rec.mkv", lambda: made.intake, overwrite=False, metadata=""))
    assert made.run(nothing).exit_code == 0
    with av.open("rec.mkv") as recorded:
        assert recorded.streams.audio


def test_a_recording_that_exists_is_not_replaced(clip, tmp_path):
    (tmp_path / "rec.mkv").write_text("mine")
    plan = show.Plan(source=FileSource(name=str(clip("film.mkv"))), settings=SMALL, outs=("rec.mkv",))
    with pytest.raises(OutputError, match="exists already"):
        show.run(plan, check=nothing, started=lambda address: None, tell=print)
    assert (tmp_path / "rec.mkv").read_text() == "mine"


def test_hls_is_written_and_plays(clip, tmp_path):
    film = clip("film.mkv", pts=range(80), audio=["aac"])
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=("live.m3u8",))
    assert show.run(plan, check=nothing, started=lambda address: None, tell=print).exit_code == 0
    assert len(list(tmp_path.glob("live*.ts"))) > 1 and "#EXT-X-ENDLIST" in (tmp_path / "live.m3u8").read_text()
    with av.open("live.m3u8", timeout=10) as played:
        kinds = [packet.stream.type for packet in played.demux() if packet.size]
    assert kinds.count("video") == 80 and kinds.count("audio") > 0.9 * 80 * 48000 / 25 / 1024


def test_everything_is_switched_while_it_runs(clip, tmp_path):
    film = clip("film.mkv", pts=range(2000), size=(64, 48))
    where = resolve("control")
    kept = Kept()
    made = session(FileSource(name=str(film), pace=True), kept)
    with show._answering(where, Security(), made.controls), Requester(where) as friend:
        worker, finished, _ = run_in_thread(made)
        wait_for(lambda: len(kept.shown) > 2)
        coloured = kept.shown[-1].frame.planes[1:]
        reply, _ = friend.ask({"v": 1, "op": "set", "saturation": 0.0, "steady": 0.0})
        assert reply["ok"] and reply["state"]["numbers"]["frames_out"] > 0
        wait_for(
            lambda: (kept.shown[-1].frame.planes[1] == 128).all() and (kept.shown[-1].frame.planes[2] == 128).all()
        )
        assert any((plane != 128).any() for plane in coloured)
        friend.ask({"v": 1, "op": "pause", "on": True})
        wait_for(lambda: made.intake.mailbox.dropped > 3)
        held = len(kept.shown)
        assert friend.ask({"v": 1, "op": "snapshot"})[1].startswith(b"\x89PNG")
        assert len(kept.shown) <= held + 1
        friend.ask({"v": 1, "op": "pause", "on": False})
        wait_for(lambda: len(kept.shown) > held + 2)
        finished.set()
        worker.join()


def test_a_picture_of_another_size_gets_an_engine_of_its_own(clip):
    frames = [Frame(planes=tuple(grey_planes("yuv420p", np.full(size, 90, np.uint8)))) for size in [(32, 48), (64, 40)]]
    kept = Kept()
    made = session(FileSource(name="-"), kept)
    for frame in frames:
        made._show(Taken(frame=frame, info=info_of(frame, "x"), capture_ns=0))
    made.close()
    assert [shown.frame.luma.shape for shown in kept.shown] == [(32, 48), (64, 40)]


def test_ten_bits_become_eight():
    frame = Frame(planes=(np.full((4, 4), 940, np.uint16),), depth=10)
    assert (live_module._in_eight_bits(frame).luma == 235).all()


def test_y4m_goes_through(clip):
    film = clip("film.mkv", pts=range(12))
    out = io.BytesIO()
    made = session(FileSource(name=str(film)))
    made.add("y4m", lambda: Y4mSink(out))
    made.run(nothing)
    first = subprocess.run(
        [*PROGRAM, "live", "-", "--no-web", "--y4m", *FAST],
        input=out.getvalue(), capture_output=True, check=True,
    )  # fmt: skip
    head, _, rest = first.stdout.partition(b"\n")
    assert head.startswith(b"YUV4MPEG2 W64 H48 F25:1") and len(rest) == 12 * (6 + 64 * 48 * 3 // 2)
    lumas = [rest[n * 4614 + 6 : n * 4614 + 6 + 3072] for n in range(12)]
    assert lumas == [frame.luma.tobytes() for frame in read_frames(film)]


def y4m_of(pieces):
    """The header and the luma's right lower corner of each picture."""
    head, _, rest = b"".join(pieces).partition(b"\n")
    size = 6 + 64 * 48 * 3 // 2
    return head.decode(), [rest[start + 6 + 64 * 48 - 1] for start in range(0, len(rest), size)]


class Pipe(list):
    write, flush = list.append, lambda self: None


def test_y4m_keeps_time_where_pictures_are_missing(clip):
    pipe = Pipe()
    sink = Y4mSink(pipe)
    film = clip("film.mkv", pts=range(40), time_base=Fraction(1, 30), rate=Fraction(30))
    info, frames = probe(film), list(read_frames(film))
    for number in (3, 4, 9, 10, 30):
        taken = Taken(frame=frames[number], info=info, capture_ns=0)
        assert sink.write(Shown(frame=as_coloured(frames[number]), taken=taken, look="natural"))
        assert not sink.write(Shown(frame=as_coloured(frames[number]), taken=taken, look="natural"))
    head, seen = y4m_of(pipe)
    assert "F30:1" in head
    numbers = [3, *[4] * 5, 9, *[10] * 20, 30]
    assert seen == [int(frames[number].luma[-1, -1]) for number in numbers]
    # A source that began anew, or was silent for very long, goes on from here.
    for pts in (0, 10**9):
        again = replace(as_coloured(frames[0]), pts=pts)
        assert sink.write(Shown(frame=again, taken=taken, look="natural"))
    assert len(y4m_of(pipe)[1]) == len(numbers) + 2


def as_coloured(frame):
    return frame.with_chroma(*[np.full((24, 32), 128, np.uint8)] * 2, (1, 1))


def test_y4m_goes_on_while_a_live_picture_is_held(clip):
    pipe = Pipe()
    film = clip("film.mkv", pts=range(1000))
    made = session(FileSource(name=str(film), pace=True))
    made.add("y4m", lambda: Y4mSink(pipe, live=True))
    worker, finished, _ = run_in_thread(made)
    wait_for(lambda: made.lanes[0].written > 3)
    made.controls.answer(b'{"v": 1, "op": "pause", "on": true}')
    time.sleep(0.2)
    before = made.lanes[0].written, len(pipe)
    wait_for(lambda: len(pipe) > before[1] + 4 * 25, seconds=5)
    assert made.lanes[0].written == before[0]
    finished.set()
    worker.join()


def test_a_reader_too_slow_for_y4m_is_sent_nothing_twice(clip):
    class Slow(Pipe):
        def write(self, piece):
            time.sleep(0.1 * (piece == b"FRAME\n"))
            self.append(piece)

    pipe = Slow()
    film = clip("film.mkv", pts=range(30))
    sink, info = Y4mSink(pipe, live=True), probe(film)
    for frame in list(read_frames(film))[::3]:
        sink.write(Shown(frame=as_coloured(frame), taken=Taken(frame=frame, info=info, capture_ns=0), look="natural"))
    assert len(y4m_of(pipe)[1]) == 10


@pytest.mark.parametrize("arguments", [("live", "--realtime", "--no-web"), ("colorize", "-o", "out.mkv")])
def test_what_is_watched_is_saved_at_the_stream_s_rate(clip, arguments):
    film = clip("film.mkv", pts=range(90), time_base=Fraction(1, 30), rate=Fraction(30))
    command, *more = arguments
    maker = subprocess.Popen([*PROGRAM, command, str(film), *more, "--publish", "push+reel", *FAST])
    try:
        subprocess.run([*PROGRAM, "watch", "push+reel", "--save", "seen.y4m"], capture_output=True, check=False)
    finally:
        assert maker.wait() in (0, 5)
    info, frames = probe("seen.y4m"), list(read_frames("seen.y4m"))
    assert info.frame_rate == 30
    lumas = [int(frame.luma[-1, -1]) for frame in read_frames(film)]
    seen = [int(frame.luma[-1, -1]) for frame in frames]
    first = lumas.index(seen[0])
    assert all(luma in lumas for luma in seen) and len(seen) >= 0.9 * (len(lumas) - first)
    assert lumas.index(seen[-1]) - first == len(seen) - 1


def test_one_kinochrome_behind_another_and_a_watcher(clip, tmp_path):
    film = clip("film.mkv", pts=range(3000))
    publisher = subprocess.Popen(
        [*PROGRAM, "live", str(film), "--realtime", "--no-web", "--publish", "reel", *FAST],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        watched = subprocess.run(
            [*PROGRAM, "watch", "reel", "--count", "8", "--json", "--save", "seen.y4m"],
            capture_output=True,
            check=False,
        )
        account = json.loads(watched.stdout)
        assert account["received"] == 8 and account["size"] == [64, 48] and account["latency_ms"]["p50"] > 0
        assert watched.returncode == (5 if account["lost"] else 0)
        assert sum(1 for _ in read_frames("seen.y4m")) >= 8  # those that were dropped between them are repeated
        kept = Kept()
        source = show.find_source("zmq+reel", camera=None, size=None, realtime=False, security=Security())
        made = session(source, kept)
        worker, finished, _ = run_in_thread(made)
        wait_for(lambda: len(kept.shown) > 3)
        finished.set()
        worker.join()
    finally:
        publisher.terminate()
        publisher.communicate()
    assert publisher.returncode == 0  # being told to stop is how a live session ends


def test_what_comes_as_jpeg_is_saved_as_y4m(clip):
    film = clip("film.mkv", pts=range(60))  # over and over: a second back or more is a new beginning
    with Publisher(resolve("jpegs")) as publisher:
        watcher = subprocess.Popen(
            [*PROGRAM, "watch", "jpegs", "--topic", "jpeg", "--count", "12", "--save", "seen.y4m"],
        )
        for frame in cycle(list(read_frames(film))):
            publisher.send(as_coloured(frame), capture_ns=time.monotonic_ns())
            time.sleep(0.02)
            if watcher.poll() is not None:
                break
    assert watcher.returncode in (0, 5)
    frames = list(read_frames("seen.y4m"))
    assert len(frames) >= 12 and {frame.subsampling for frame in frames} == {(1, 1)}
    assert probe("seen.y4m").tags.full_range and abs(int(frames[0].planes[1][0, 0]) - 128) <= 1


def test_view_opens_the_page_in_the_person_s_browser(clip, tmp_path):
    fetch = "import sys, urllib.request as r; open('page.html', 'wb').write(r.urlopen(sys.argv[1]).read())"
    (tmp_path / "browser.py").write_text(fetch)
    surroundings = os.environ | {"BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s"}
    frames = cycle([as_coloured(frame) for frame in read_frames(clip("film.mkv"))])
    page = tmp_path / "page.html"
    with Publisher(resolve("seen")) as publisher:
        watcher = subprocess.Popen([*PROGRAM, "watch", "seen", "--view", "--json"], env=surroundings)
        while not page.exists():
            publisher.send(next(frames), capture_ns=time.monotonic_ns())
            time.sleep(0.02)
        watcher.send_signal(signal.SIGINT)
        watcher.wait(30)
    assert watcher.returncode in (0, 5) and b"<title>Kinochrome live</title>" in page.read_bytes()
    page.unlink()
    film = clip("long.mkv", pts=range(100))
    command = [*PROGRAM, "live", str(film), "--realtime", "--view", "--port", "0", *FAST]
    subprocess.run(command, env=surroundings, check=True, capture_output=True)
    assert b"<title>Kinochrome live</title>" in page.read_bytes()


def test_the_page_of_a_watcher_gives_snapshots(clip, monkeypatch):
    monkeypatch.setattr("webbrowser.open", lambda address: None)
    frame = as_coloured(next(read_frames(clip("film.mkv"))))
    account, told, pictures = spectator.Account(endpoint="seen"), [], []
    assert account.lines() == ["seen: no picture came so far"]

    def check():
        publisher.send(frame, capture_ns=time.monotonic_ns())
        if account.received:
            with urllib.request.urlopen(told[0].removeprefix("watch at ") + "snapshot.png") as answer:
                pictures.append(answer.read())
            raise Interrupted("enough", 2)

    with Publisher(resolve("seen")) as publisher, pytest.raises(Interrupted):
        visit = spectator.Visit(endpoint=resolve("seen", connect=True), view=True)
        spectator.watch(visit, account, check=check, tell=told.append)
    assert pictures[0].startswith(b"\x89PNG") and account.lines()[0].startswith("seen: 1 pictures of 64x48")


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("no", False, "as push\\+, or by one that wants keys"),
        ("push+no", True, "without push\\+, .* your key is not on"),
    ],
)
def test_who_hears_nothing_is_told_why_that_may_be(tmp_path, monkeypatch, name, keys, words):
    monkeypatch.setattr(spectator, "PATIENCE_S", 0)
    public, secret = write_keys("me", tmp_path, new_pair)
    visit = spectator.Visit(
        endpoint=resolve(name, connect=True), security=Security(own=secret, peers=public) if keys else Security()
    )
    with pytest.raises(InputError, match=words):
        spectator.watch(visit, spectator.Account(endpoint=name), check=nothing, tell=print)


def test_nothing_is_left_where_nothing_came(tmp_path):
    with Publisher(resolve("wide")) as publisher:
        watcher = subprocess.Popen([*PROGRAM, "watch", "wide", "--count", "1", "--save", "seen.y4m"])
        wide = Frame(planes=tuple(np.full((4, width), 90, np.uint8) for width in (8, 4, 4)), subsampling=(1, 0))
        while watcher.poll() is None:
            publisher.send(wide, capture_ns=0)
            time.sleep(0.02)
    assert watcher.returncode == 4 and not list(tmp_path.glob("seen*"))


@pytest.mark.parametrize("given", [b"", b"no film", bytes(range(256)) * 40])
def test_what_is_no_y4m_on_stdin_is_one_clear_line(given):
    ran = subprocess.run([*PROGRAM, "live", "-", "--no-web", "--y4m", *FAST], input=given, capture_output=True)
    assert ran.returncode == 3 and ran.stdout == b""
    assert ran.stderr.startswith(b"kinochrome: stdin: no y4m comes") and ran.stderr.count(b"\n") == 1


def test_a_film_without_a_pace_waits_for_its_consumer(clip, monkeypatch):
    monkeypatch.setattr(show, "_CONSUMER_S", 0.1)
    film, reports, asked = clip("film.mkv", pts=range(12)), [], threading.Event()
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, publish=resolve("push+late"))

    def check():
        if asked.is_set():
            raise Interrupted("enough", signal.SIGINT)

    def work():
        reports.append(show.run(plan, check=check, started=lambda address: None, tell=print))

    for stops in (False, True):  # a consumer that comes late gets everything; where none comes Ctrl-C ends it
        worker = threading.Thread(target=work)
        worker.start()
        time.sleep(2)
        if stops:
            asked.set()
        else:
            with Subscriber(resolve("push+late", connect=True)) as subscriber:
                came = iter(lambda: subscriber.receive(20), None)
                pictures = islice((message for message in came if isinstance(message, FrameMessage)), 12)
                assert [message.stamp.seq for message in pictures] == list(range(12))
        worker.join(20)
        assert not worker.is_alive()
    assert reports[0].sinks["zeromq"] == {"written": 12, "dropped": 0, "reconnects": 0, "state": "ok"}


def test_a_film_can_be_watched_while_it_is_made(clip):
    film = clip("film.mkv", pts=range(120))
    maker = subprocess.Popen(
        [*PROGRAM, "colorize", str(film), "-o", "out.mkv", "--publish", "push+film", *FAST],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        watched = subprocess.run([*PROGRAM, "watch", "push+film", "--json"], capture_output=True, check=True)
        account = json.loads(watched.stdout)
        assert (account["received"], account["lost"], account["ended"]) == (120, 0, True)
    finally:
        _, told = maker.communicate(timeout=60)
    assert maker.returncode == 0, told
    assert probe("out.mkv").expected_frames == 120


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give one source"),
        (["x.mkv", "--camera", "0"], 2, "give one source"),
        (["--camera", "77"], 3, "no such camera"),
        (["--camera", "0", "--size", "big"], 2, "640x480"),
        (["nowhere.mkv"], 3, "no such file"),
        (["rtsp://127.0.0.1:9/x", "--realtime"], 2, "pace of their own"),
        (["x.mkv", "--style", "nonsense"], 2, "there are natural"),
        (["x.mkv", "--style", "./none.jpg"], 3, "none.jpg"),
        (["x.mkv", "--no-web"], 2, "nothing would come out"),
        (["x.mkv", "--publish", "tcp://0.0.0.0:5555"], 2, "--insecure"),
        (["x.mkv", "--publish", "tcp://0.0.0.0:5555", "--keys", "no.key_secret"], 3, "no.key_secret"),
        (["zmq+tcp://127.0.0.1:5555", "--keys", "me.key_secret"], 2, "--server"),
        (["zmq+tcp://127.0.0.1:5555", "--keys", "me.key_secret", "--allow", "."], 2, "--server"),
        (["zmq+push+tcp://127.0.0.1:5555", "--keys", "me.key_secret"], 2, "--server"),
        (["zmq+hall", "--keys", "me.key_secret"], 2, "--server"),
        (["x.mkv", "--control", "tcp://127.0.0.1:5555"], 2, "every user"),
        (["x.mkv", "--publish", "hall", "--control", "hall", "--no-web"], 4, "in use by a running program"),
        (["x.mkv", "--no-web", "-o", "rec.gif"], 2, "recorded as"),
        (["x.mkv", "--no-web", "-o", "ftp://x/y"], 2, "are sent to"),
        (["x.mkv", "--short-side", "7"], 2, "32 to 512"),
        (["zmq+../x"], 2, "endpoint"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments, code, words, capfd):
    from stream import cli
    from stream.stop import Stop

    more = [] if "--no-web" in arguments else ["--port", "0"]
    assert cli.run(["live", *arguments, *more], Stop()) == code
    told = capfd.readouterr().err.splitlines()
    assert words in told[-1] and sum(line.startswith("kinochrome: ") and "watch at" not in line for line in told) == 1


def test_a_virtual_camera_without_its_package_says_what_to_install(clip):
    try:
        import pyvirtualcam  # noqa: F401
    except ImportError:
        plan = show.Plan(source=FileSource(name=str(clip("f.mkv"))), settings=SMALL, virtual_camera=True)
        with pytest.raises(UsageError, match="pip install"):
            show.run(plan, check=nothing, started=lambda address: None, tell=print)


class VirtualCamera:
    """What pyvirtualcam 0.15 documents, without a device."""

    devices = ("/dev/video9",)

    def __init__(self, width, height, fps, *, fmt, device=None, backend=None, print_fps=False):
        if not self.devices:
            raise RuntimeError("'v4l2loopback' backend: No devices found\n'other' backend: none")
        self.width, self.height, self.fps, self.fmt, self.sent = width, height, fps, fmt, []
        VirtualCamera.made = self

    def send(self, frame):
        assert frame.shape == (self.height, self.width, 3) and frame.dtype == np.uint8 and frame.flags.c_contiguous
        self.sent.append(frame)

    def close(self):
        self.sent.append(None)


def test_a_virtual_camera_gets_what_its_package_wants(clip, monkeypatch):
    stand_in = types.SimpleNamespace(Camera=VirtualCamera, PixelFormat=types.SimpleNamespace(BGR="bgr"))
    monkeypatch.setitem(sys.modules, "pyvirtualcam", stand_in)
    film = clip("f.mkv", pts=range(5))
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, virtual_camera=True)
    report = show.run(plan, check=nothing, started=lambda address: None, tell=print)
    camera = VirtualCamera.made
    assert report.sinks == {"virtual camera": {"written": 5, "dropped": 0, "reconnects": 0, "state": "ok"}}
    assert (camera.width, camera.height, camera.fps, camera.fmt) == (64, 48, 25.0, "bgr")
    assert len(camera.sent) == 6 and camera.sent[-1] is None
    monkeypatch.setattr(VirtualCamera, "devices", ())
    with pytest.raises(OutputError, match=r"^virtual camera: can't be opened .*load v4l2loopback$"):
        show.run(plan, check=nothing, started=lambda address: None, tell=print)


def test_without_a_camera_the_list_says_so(capsys, monkeypatch):
    from stream import cli
    from stream.stop import Stop

    monkeypatch.setattr("av.device.enumerate_input_devices", lambda driver: [])
    assert cli.run(["live", "--list-cameras"], Stop()) == 0
    assert "no camera was found" in capsys.readouterr().out
    assert cli.run(["live", "--list-cameras", "--json"], Stop()) == 0
    assert json.loads(capsys.readouterr().out) == {"cameras": []}
    found = [types.SimpleNamespace(name="/dev/video2", description="Webcam")]
    monkeypatch.setattr("av.device.enumerate_input_devices", lambda driver: found)
    assert cli.run(["live", "--list-cameras"], Stop()) == 0
    assert capsys.readouterr().out == "--camera 2: Webcam\n"


def test_the_first_conversion_is_told_and_can_be_interrupted(clip, tmp_path):
    film = clip("film.mkv", pts=range(50), size=(160, 128))
    program = [*PROGRAM, "live", str(film), "--realtime", "--no-web", "-o", "rec.mkv", "--short-side", "128"]
    surroundings = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    with subprocess.Popen([*program, "--runtime", "openvino"], env=surroundings, stderr=subprocess.PIPE) as running:
        line = running.stderr.readline().decode()
        assert "preparing the network for natural colour at a working size of 160x128" in line and "this once" in line
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, told = running.communicate(timeout=60)
    assert (running.returncode, time.monotonic() - asked < 4) == (130, True)
    assert told.decode().splitlines() == ["kinochrome: interrupted"]
    assert not list(tmp_path.glob("rec*")) and not list((tmp_path / "cache").rglob("meta.json"))


def test_looks_are_checked_and_put_on():
    assert switch.available_looks()[0] == "natural"
    controls = Controls(Setting())
    assert controls.setting.look == "natural"
    with pytest.raises(UsageError, match="there are natural"):
        switch.check_look("nonsense")


def test_keys_are_made_by_the_command(tmp_path, capsys):
    from stream import cli
    from stream.stop import Stop

    assert cli.run(["keys", "me", "-o", str(tmp_path)], Stop()) == 0
    assert (tmp_path / "me.key_secret").stat().st_mode & 0o777 == 0o600
    assert cli.run(["keys", "me", "-o", str(tmp_path)], Stop()) == 4
    assert "exists already" in capsys.readouterr().err


def test_keys_that_would_protect_nothing_are_refused(tmp_path, capsys):
    from stream import cli
    from stream.stop import Stop

    assert cli.run(["live", "film.mkv", "--keys", str(tmp_path / "no.key_secret")], Stop()) == 2
    assert "there is none; add --publish, --control" in " ".join(capsys.readouterr().err.split())


def test_a_lane_closes_its_sink_even_when_it_fails():
    def die():
        raise OutputError("no")

    sink = Kept(die)
    lane = Lane("x", lambda: sink)
    lane.put(None)
    lane.close()
    assert sink.closed


def test_folders_and_passwords_are_shown_to_nobody():
    assert live_module.public_name("/home/me/secret/film.mkv") == "film.mkv"
    assert live_module.public_name("rtsp://me:word@camera:554/a?key=1") == "rtsp://camera:554/a"
    assert live_module.public_name("camera /dev/video0") == "camera /dev/video0"


def test_a_look_is_put_on_while_the_session_runs(clip):
    luma = np.tile(np.linspace(40, 200, 64).astype(np.uint8), (48, 1))
    planes = [luma, np.full((24, 32), 110, np.uint8), np.full((24, 32), 150, np.uint8)]
    film = clip("colour.mkv", codec="ffv1", pts=range(40), planes=lambda _: planes)
    seen = []

    class Eye:
        def write(self, shown):
            seen.append((shown.look, shown.frame.luma.copy()))
            if len(seen) == 3:
                session.controls.answer(b'{"v": 1, "op": "set", "look": "starry", "strength": 0.7}')

        def idle(self):
            pass

        def close(self):
            pass

    session = Session(FileSource(name=str(film)), settings=SMALL)
    session.add("eye", Eye)
    assert session.run(nothing).frames_out == 40
    assert len(seen) == 40
    painted = {look: [made for name, made in seen if name == look] for look in ("natural", "starry")}
    assert len(painted["natural"]) >= 3 and painted["starry"]
    assert all(np.array_equal(made, luma) for made in painted["natural"])
    assert all(not np.array_equal(made, luma) for made in painted["starry"])


def test_a_bug_in_a_sink_is_told_and_the_others_finish(clip):
    def die():
        raise AttributeError("of /home/me")

    dying, kept = Kept(die), Kept()
    made = session(FileSource(name=str(clip("film.mkv", pts=range(30)))), dying, kept)
    with pytest.raises(AttributeError):
        made.run(nothing)
    assert len(kept.shown) == 30 and dying.closed
    sinks = made.numbers()["sinks"]
    assert sinks["sink 0"]["state"] == "a bug (AttributeError)" and sinks["sink 1"]["state"] == "ok"


def test_what_fails_while_a_sink_closes_does_not_hide_why(clip):
    class Fragile(Kept):
        def write(self, shown):
            raise OutputError("the cause")

        def close(self):
            raise AttributeError("what follows")

    with pytest.raises(OutputError, match="the cause"):
        session(FileSource(name=str(clip("film.mkv", pts=range(9)))), Fragile()).run(nothing)


@pytest.mark.parametrize(
    ("name", "size", "way"),
    [("x.mkv", (65, 33), "in 4:4:4"), ("x.mp4", (64, 33), "in 4:4:4"), ("x.m3u8", (66, 34), "as")],
)
def test_an_odd_picture_is_recorded(clip, name, size, way):
    film = clip("odd.mkv", codec="ffv1", size=(65 if size[0] != 64 else 64, 33), pts=range(9))
    told = []
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=(name,))
    report = show.run(plan, check=nothing, started=lambda address: None, tell=told.append)
    assert report.exit_code == 0 and sum(f"is odd, and so it is coded {way}" in line for line in told) == 1
    with av.open(name, timeout=10) as made:
        frames = list(made.decode(video=0))
    assert len(frames) == 9 and {(frame.width, frame.height) for frame in frames} == {size}
    for frame, was in zip(frames, read_frames(film), strict=True):
        luma = frame.reformat(format="yuv444p").to_ndarray()[0].astype(int)
        assert abs(luma[:33, : was.width] - was.luma).mean() < 12
        assert abs(int(luma[-1, -1]) - int(was.luma[-1, -1])) < 9


def test_hls_on_a_full_disk_is_told(clip):
    film = clip("film.mkv", size=(320, 240), pts=range(150))
    program = [*PROGRAM, "live", str(film), "--no-web", "-o", "live.m3u8", *FAST]
    limit = "import resource, sys, subprocess; resource.setrlimit(resource.RLIMIT_FSIZE, (200000,) * 2); "
    ran = subprocess.run(
        [sys.executable, "-c", limit + f"sys.exit(subprocess.run({program!r}).returncode)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 6 and "the file-size limit is reached" in ran.stderr, ran
    assert len(ran.stderr.splitlines()) == 1


def test_two_recordings_both_get_all_the_sound(clip, tmp_path):
    film = clip("film.mkv", pts=range(50), audio=["aac"])
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=("a.mkv", "b.mkv"))
    report = show.run(plan, check=nothing, started=lambda address: None, tell=print)
    assert report.exit_code == 0
    sounds = []
    for name in (str(film), "a.mkv", "b.mkv"):
        with av.open(name) as file:
            sounds.append([bytes(packet) for packet in file.demux(audio=0) if packet.size])
    assert len(sounds[1]) > 0.9 * len(sounds[0]) and sounds[1] == sounds[2]


@pytest.mark.parametrize("name", ["rec.mkv", "rec.m3u8"])
def test_a_recording_is_not_written_twice(clip, name):
    plan = show.Plan(
        source=FileSource(name=str(clip("film.mkv"))), settings=SMALL, outs=(name, f"./{name}"), overwrite=True
    )
    with pytest.raises(OutputError, match=r"another run is writing it"):
        show.run(plan, check=nothing, started=lambda address: None, tell=print)
    assert not list(Path().glob("rec*"))


def test_recordings_of_one_name_are_told_apart(clip, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    outs = tuple(str(tmp_path / folder / "rec.mkv") for folder in ("one", "two"))
    plan = show.Plan(source=FileSource(name=str(clip("film.mkv", pts=range(9)))), settings=SMALL, outs=outs)
    report = show.run(plan, check=nothing, started=lambda address: None, tell=print)
    assert set(report.sinks) == {"rec.mkv", "rec.mkv 2"} and report.exit_code == 0


def test_what_is_secret_in_a_target_is_shown_to_nobody(tmp_path):
    address = "rtmp://me:word@host/app/KEY-1?sign=XYZ"
    assert public.public_target(address) == "rtmp://host/app/"
    assert "KEY" not in public.public_target("rtmp://[bad/KEY")
    for text in (address, address.replace("//", "/"), "app/KEY-1 and sign=XYZ by me:word"):
        shown = public.scrub(f"{text}: can't be written", address)
        assert not any(secret in shown for secret in ("KEY-1", "XYZ", "me:word")) and "can't be written" in shown
    assert public.public_target("/home/me/rec.mkv") == "rec.mkv"
    assert public.scrub("/home/me x/rec.part.mkv: full", "/home/me x/rec.mkv") == "rec.part.mkv: full"
    assert public.scrub("weights at ~/.cache/w.bin or /srv/a/b.bin: no") == "weights at w.bin or b.bin: no"
    assert "run" not in public.public_name("zmq+ipc:///run/user/7/reel")


def test_a_lane_that_fails_names_no_folder(tmp_path):
    def die():
        raise OutputError(f"{tmp_path}/rec.part.mkv: the disk is full")

    lane = Lane("rec.mkv", die, target=str(tmp_path / "rec.mkv"))
    with pytest.raises(OutputError, match=str(tmp_path)):  # the one who asked may know
        lane.started()
    assert lane.state == "rec.part.mkv: the disk is full"


@pytest.fixture
def painting(tmp_path):
    random = np.random.default_rng(3)
    folder = tmp_path / "private"
    folder.mkdir()
    path = folder / "Ma toile \u00e9.png"
    path.write_bytes(cv2.imencode(".png", random.integers(0, 255, (160, 160, 3), np.uint8))[1].tobytes())
    return path


def test_a_picture_as_look_has_a_public_name_and_can_be_chosen_again(clip, painting):
    name, look = switch.look_to_begin_with(str(painting))
    assert name == "Ma toile _.png" and look is not None
    painting.unlink()  # what was read is held
    kept = Kept()
    setting = Setting(look=name)
    made = Session(FileSource(name=str(clip("film.mkv", pts=range(30)))), settings=SMALL, setting=setting, look=look)

    def watch():
        if len(kept.shown) == 3:
            assert made.controls.answer(b'{"v": 1, "op": "set", "look": "natural"}')[0]["ok"]
        if len(kept.shown) == 12:
            again = json.dumps({"v": 1, "op": "set", "look": name})
            assert made.controls.answer(again)[0]["ok"]

    kept.wait = watch
    made.add("eye", lambda: kept)
    assert made.run(nothing).frames_out == 30
    looks = [shown.look for shown in kept.shown]
    assert looks[0] == looks[-1] == name and "natural" in looks
    assert str(painting.parent) not in json.dumps(made.controls.state())


@pytest.mark.parametrize("path", ["./private/x.png", "/etc/passwd", "Ma toile _.png"])
def test_no_peer_can_name_a_picture(path):
    controls = Controls(Setting(look="other.png"))
    assert not controls.answer(json.dumps({"v": 1, "op": "set", "look": path}))[0]["ok"]
    with pytest.raises(UsageError):
        switch.look_of(path)


def test_a_picture_named_like_a_look_is_not_mistaken_for_it(painting):
    twin = painting.with_name("starry")
    painting.rename(twin)
    assert switch.look_to_begin_with(str(twin))[0] == "./starry"


def break_the_opening(monkeypatch):
    really = runtime_module.open_runtime

    def broken(settings, size, *, styled=False, tell=None):
        if styled:
            raise EngineError("/home/me/.cache/engine: no room")
        return really(settings, size, tell=tell)

    monkeypatch.setattr(runtime_module, "open_runtime", broken)


def break_the_painting(monkeypatch):
    really = Engine.one

    def broken(engine, frame, online):
        if engine._code is not None:
            raise EngineError("/home/me/.cache/engine: no room")
        return really(engine, frame, online)

    monkeypatch.setattr(Engine, "one", broken)


@pytest.mark.parametrize("break_it", [break_the_opening, break_the_painting])
def test_a_look_that_cannot_be_had_ends_nothing(clip, monkeypatch, break_it):
    made, told = None, []
    break_it(monkeypatch)
    kept = Kept()

    def watch():
        if len(kept.shown) == 3:
            made.controls.answer(b'{"v": 1, "op": "set", "look": "starry"}')

    kept.wait = watch
    made = session(FileSource(name=str(clip("film.mkv", pts=range(30)))), kept, tell=told.append)
    assert made.run(nothing).frames_out == 30
    assert {shown.look for shown in kept.shown} == {"natural"} and made.controls.setting.look == "natural"
    assert made.numbers()["notice"] == "the look starry can't be put on: engine: no room" and len(told) == 1


def test_a_recording_never_replaces_its_source(clip):
    film = str(clip("film.mkv", pts=range(10)))
    with pytest.raises(UsageError, match="is the input itself"):
        Recorder(film, lambda: None, overwrite=True, metadata="", source=film)
    assert len(list(read_frames(film))) == 10


def test_the_picture_that_waited_for_the_engine_is_left_out(clip):
    made = session(UrlSource(name="http://127.0.0.1:9/x"), Kept())
    frame = next(read_frames(clip("film.mkv", pts=range(2))))
    taken = Taken(frame=frame, info=info_of(frame, "x"), capture_ns=0)
    made._show(taken)
    made._show(taken)
    assert (made._frames_out, made._skipped) == (1, 1)
    made.controls.answer(b'{"v": 1, "op": "set", "look": "starry"}')
    made._show(taken)
    made._show(taken)
    assert (made._frames_out, made._skipped) == (2, 2)
    made.close()


def test_colours_that_come_later_are_seen():
    planes = [np.full((48, 64), 90, np.uint8), np.full((24, 32), 128, np.uint8), np.full((24, 32), 128, np.uint8)]
    coloured = [planes[0], np.full((24, 32), 90, np.uint8), planes[2]]
    grey, colour = (Frame(planes=tuple(which)) for which in (planes, coloured))
    setting = Setting(look="starry")
    painter = live_module._Painter(info_of(grey, "x"), SMALL, styled=True)
    seen = []
    for frame in (grey, colour, grey):
        painter.paint(frame, setting, switch.look_of("starry"))
        seen.append(painter._engine.settings.source_colours)
    assert seen == [False, True, True]


def test_sinks_that_hang_share_one_time_and_count_as_failed(clip, monkeypatch):
    monkeypatch.setattr(live_module, "_FINISH_S", 0.3)
    gate = threading.Event()
    film = clip("film.mkv", pts=range(3))
    made = session(FileSource(name=str(film)), Kept(gate.wait), Kept(gate.wait), Kept())
    started = time.monotonic()
    report = made.run(nothing)
    made.close()
    gate.set()
    assert report.exit_code == 5 and "in time" in report.sinks["sink 1"]["state"]
    assert report.sinks["sink 2"] == {"written": 3, "dropped": 0, "reconnects": 0, "state": "ok"}
    assert time.monotonic() - started < 20


def test_a_session_that_waits_for_a_sink_can_be_interrupted(clip, monkeypatch):
    monkeypatch.setattr(live_module, "_FINISH_S", 0.1)
    gate = threading.Event()
    made = session(FileSource(name=str(clip("film.mkv", pts=range(60)))), Kept(gate.wait))
    worker, finished, failure = run_in_thread(made)
    wait_for(lambda: made.lanes[0]._queue.full())
    finished.set()
    worker.join(20)
    gate.set()
    assert not worker.is_alive() and isinstance(failure[0], Interrupted)
