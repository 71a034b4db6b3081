"""Recordings that go to servers: FFmpeg listens as RTMP's, RTSP's and TCP's; others refuse, hang and die."""

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pytest
import servers

from benchmarks import numbered
from stream import show
from stream.capture import FileSource
from stream.config import Settings
from stream.errors import Interrupted, OutputError
from stream.live import Session
from stream.record import Recorder, audio_config, is_adts

SMALL = Settings(runtime="torch", short_side=32)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def film(clip):
    return clip("film.mkv", pts=range(40), audio=["aac"])


def run(film, *outs):
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=outs)
    return show.run(plan, check=lambda: None, started=lambda address: None, tell=print)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("rtmp://127.0.0.1:{}/live/KEY", {"listen": "1"}),
        ("rtsp://127.0.0.1:{}/live/KEY", {"rtsp_flags": "listen", "listen_timeout": "20"}),
        ("tcp://127.0.0.1:{}", {"listen": "1"}),
    ],
)
def test_a_server_gets_all_pictures_and_the_sound(film, address, options):
    port = servers.free_port()
    player = servers.Listener(address.format(port), port, **options)
    report = run(film, address.format(port))
    player.wait()
    assert report.exit_code == 0, report.sinks
    assert len(player.times) == 40 and player.sounds > 0.9 * 40 * 48000 / 25 / 1024
    steps = [later - earlier for earlier, later in pairwise(player.times[2:])]
    assert all(abs(step - 0.04) < 0.0011 for step in steps)
    assert all(abs(luma - (n * 13 % 200 + 28)) < 9 for n, luma in enumerate(player.lumas))
    assert all("KEY" not in name for name in report.sinks)


def test_a_server_that_refuses_is_one_clear_line(film):
    with pytest.raises(OutputError, match=r"^rtmp://127.0.0.1:9/live/x: can't be sent to \(.*refused") as told:
        run(film, "rtmp://127.0.0.1:9/live/x")
    assert "\n" not in str(told.value)


class Shelf(BaseHTTPRequestHandler):
    """Takes what is PUT to it, in chunks as FFmpeg sends it."""

    protocol_version = "HTTP/1.1"
    files: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.files[self.path] = body
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *about):
        pass


@contextmanager
def serving_shelf(port):
    with ThreadingHTTPServer(("127.0.0.1", port), Shelf) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()


def test_hls_goes_to_a_server(clip, tmp_path):
    film, port = clip("long.mkv", pts=range(120), audio=["aac"]), servers.free_port()
    Shelf.files.clear()
    with serving_shelf(port):
        report = run(film, f"http://127.0.0.1:{port}/x.m3u8")
    assert report.exit_code == 0, report.sinks
    for name, data in Shelf.files.items():
        (tmp_path / name.lstrip("/")).write_bytes(data)
    with av.open("x.m3u8") as played:
        kinds = [packet.stream.type for packet in played.demux() if packet.size]
    assert kinds.count("video") == 120 and kinds.count("audio") > 200


@pytest.mark.parametrize("pictures", [20, 120])
def test_a_server_of_hls_that_refuses_is_not_called_written(clip, pictures):
    film = clip("long.mkv", pts=range(pictures))
    told = []
    plan = show.Plan(source=FileSource(name=str(film)), settings=SMALL, outs=("http://127.0.0.1:9/x.m3u8",))
    with suppress(OutputError):
        report = show.run(plan, check=lambda: None, started=lambda _: None, tell=told.append)
        (sink,) = report.sinks.values()
        assert "can't be sent to" in sink["state"] and report.exit_code == 5
    assert not any("back again" in line for line in told)
    assert all(line.count("http://127.0.0.1:9/") == 1 for line in told)


def test_a_server_that_says_nothing_stops_nobody_and_is_given_up(clip, monkeypatch):
    monkeypatch.setattr("stream.relay.TIMEOUT_S", 1.0)
    film = clip("film.mkv", pts=range(250))

    class Kept(list):
        write, idle, close = list.append, lambda self: None, lambda self: None

    kept = Kept()
    with servers.serving(lambda connection, dead: dead.wait(30)) as port:
        made = Session(FileSource(name=str(film), pace=True), settings=SMALL)
        target = f"rtmp://127.0.0.1:{port}/live/x"
        made.add("server", lambda: Recorder(target, lambda: made.intake, overwrite=False, metadata=""))
        made.add("eye", lambda: kept)
        report = made.run(lambda: None)
    silent = report.sinks["server"]
    assert "took nothing for 1 s" in silent["state"] and report.exit_code == 5
    assert silent["written"] == 0 and silent["dropped"] > 0  # what its process was handed is not there
    assert report.sinks["eye"] == {"written": report.frames_out, "dropped": 0, "reconnects": 0, "state": "ok"}
    assert report.frames_out > 5


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_dies_and_comes_back_is_sent_to_again(clip):
    film = clip("film.mkv", pts=range(0, 2500, 10), options={"preset": "ultrafast", "g": "6"})
    told, heard = [], []
    finished, reports = threading.Event(), []

    def talk(connection: socket.socket, dead: threading.Event) -> None:
        while data := connection.recv(1 << 16):
            heard.append(data)

    def check() -> None:
        if finished.is_set():
            raise Interrupted("enough", 2)

    def work() -> None:
        plan = show.Plan(
            source=FileSource(name=str(film), pace=True), settings=SMALL, outs=(f"tcp://127.0.0.1:{port}",)
        )
        reports.append(show.run(plan, check=check, started=lambda _: None, tell=told.append))

    worker = threading.Thread(target=work, daemon=True)
    with servers.serving(talk) as port:
        worker.start()
        until(lambda: len(heard) > 5)
    until(lambda: told)
    del heard[:]
    with servers.serving(talk, port):
        until(lambda: len(told) > 1 and len(heard) > 10)
        finished.set()
        worker.join(60)
    assert [line.split(": ")[1].split(" (")[0] for line in told] == ["can't be sent to", "back again"]
    (sink,) = reports[0].sinks.values()
    assert sink["dropped"] > 0 and sink["written"] > 10 and (sink["reconnects"], sink["state"]) == (1, "ok")
    assert sink["written"] + sink["dropped"] == reports[0].frames_out
    assert "gone and back 1 times" in reports[0].lines()[-1]
    Path("back.ts").write_bytes(b"".join(heard))
    with av.open("back.ts") as film_again:
        kinds = [packet.stream.type for packet in film_again.demux() if packet.size]
    assert kinds.count("video") > 5


def with_sound(name, frames, sound_frames=None):
    """A film whose pictures have their number in them and whose packets of sound are all different; and their times."""
    noise = np.random.default_rng(1)
    with av.open(name, "w", container_options={"max_interleave_delta": "0"} if sound_frames is None else {}) as film:
        stream = film.add_stream("libx264", rate=25, options={"preset": "ultrafast", "tune": "zerolatency", "g": "6"})
        stream.width, stream.height, stream.pix_fmt = 384, 48, "yuv420p"
        sound, samples = film.add_stream("aac", rate=48000), 0
        for number in range(frames):
            codes = numbered.draw(np.full((48, 384), 90, np.uint8), number)
            picture = av.VideoFrame.from_ndarray(np.vstack((codes, np.full((24, 384), 128, np.uint8))), "yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(picture))
            while samples < 1920 * min(number + 1, frames if sound_frames is None else sound_frames):
                heard = av.AudioFrame.from_ndarray(noise.random((2, 1024), np.float32) - 0.5, "fltp", "stereo")
                heard.sample_rate, heard.pts, heard.time_base = 48000, samples, Fraction(1, 48000)
                film.mux(sound.encode(heard))
                samples += 1024
        film.mux(stream.encode(None))
        film.mux(sound.encode(None))
    with av.open(name) as film:
        return {bytes(packet): float(packet.pts * packet.time_base) for packet in film.demux(audio=0) if packet.size}


@contextmanager
def playing(film, target, told):
    """A session that sends the film at its own pace until the block ends; its report follows."""
    finished, reports = threading.Event(), []

    def check() -> None:
        if finished.is_set():
            raise Interrupted("enough", 2)

    def work() -> None:
        plan = show.Plan(source=FileSource(name=film, pace=True), settings=SMALL, outs=(target,))
        reports.append(show.run(plan, check=check, started=lambda _: None, tell=told.append))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        yield reports
    finally:
        finished.set()
        worker.join(60)


@pytest.mark.parametrize(
    ("address", "options"),
    [
        ("rtmp://127.0.0.1:{}/live/KEY", {"listen": "1"}),
        ("rtsp://127.0.0.1:{}/live/KEY", {"rtsp_flags": "listen", "listen_timeout": "40"}),
        ("tcp://127.0.0.1:{}", {"listen": "1"}),
    ],
)
def test_sound_and_picture_are_in_step_on_a_server_that_came_back(address, options):
    was, port, told = with_sound("film.mkv", 1500), servers.free_port(), []
    players = [servers.Listener(address.format(port), port, **options)]
    with playing("film.mkv", address.format(port), told) as reports:
        until(lambda: len(players[0].pictures) > 20)
        players[0].die()
        until(lambda: told)
        players.append(servers.Listener(address.format(port), port, **options))
        until(lambda: len(players[1].pictures) > 20 and len(players[1].heard) > 20)
    players[1].wait()
    for player in players:
        pictures = [(time_s, numbered.read(luma) / 25) for time_s, luma in player.pictures if time_s is not None]
        sounds = [(time_s, was[data]) for time_s, data in map(without_adts, player.heard)]
        shifts = [time_s - own_s for time_s, own_s in pictures + sounds]
        assert max(shifts) - min(shifts) < 0.002
        if player is players[1]:  # in the beginning sound goes ahead while the engine is opened
            assert abs(sounds[0][1] - pictures[0][1]) < 0.5
        steps = [later - earlier for (_, earlier), (_, later) in pairwise(sounds)]
        assert max(steps) < 1.5 * 1024 / 48000
    (sink,) = reports[0].sinks.values()
    assert (sink["reconnects"], sink["state"]) == (1, "ok")
    assert sink["written"] >= sum(len(player.pictures) for player in players)


def without_adts(heard):
    time_s, data = heard
    return time_s, data[7 if data[1] & 1 else 9 :] if is_adts(data) else data


def test_pictures_do_not_wait_for_sound_that_has_ended():
    with_sound("film.mkv", 400, sound_frames=10)
    port, told = servers.free_port(), []
    address = f"tcp://127.0.0.1:{port}"
    player = servers.Listener(address, port, listen="1")
    started_s = time.monotonic()
    with playing("film.mkv", address, told):
        until(lambda: player.pictures and player.pictures[-1][0] > 2)
        assert time.monotonic() - started_s < 12  # FFmpeg would wait 10 s, twice
    player.wait()


def test_hls_on_a_server_that_came_back_goes_on_counting(clip, tmp_path):
    film, told, port = clip("film.mkv", pts=range(2000)), [], servers.free_port()
    Shelf.files.clear()
    lists = []
    with playing(str(film), f"http://127.0.0.1:{port}/x.m3u8", told) as reports:
        for _ in range(2):
            with serving_shelf(port):
                until(lambda: Shelf.files.get("/x.m3u8", b"").count(b".ts") > 1)
            lists.append(Shelf.files.pop("/x.m3u8").decode())
            until(lambda: told)
    numbers = [int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1]) for text in lists]
    assert numbers[1] > numbers[0] + lists[0].count(".ts")
    assert not set(re.findall(r"x\d+.ts", lists[0])) & set(re.findall(r"x\d+.ts", lists[1]))
    assert "#EXT-X-DISCONTINUITY\n" in lists[1]
    (sink,) = reports[0].sinks.values()
    assert sink["reconnects"] == 1


def test_the_aac_of_a_transport_stream_goes_to_rtsp(clip):
    film, port = clip("film.ts", pts=range(60), audio=["aac"]), servers.free_port()
    address = f"rtsp://127.0.0.1:{port}/live/x"
    player = servers.Listener(address, port, rtsp_flags="listen", listen_timeout="20")
    report = run(film, address)
    player.wait()
    assert report.exit_code == 0, report.sinks
    assert len(player.times) == 60 and player.sounds > 0.8 * 60 * 48000 / 25 / 1024


@pytest.mark.parametrize(("kind", "rate", "channels"), [(2, 3, 2), (2, 4, 1), (1, 11, 7)])
def test_what_adts_says_is_written_down_once(kind, rate, channels):
    head = bytes([0xFF, 0xF1, (kind - 1) << 6 | rate << 2 | channels >> 2, (channels & 3) << 6, 0, 0, 0])
    assert is_adts(head) and not is_adts(b"\xde\x02\0\0\0\0\0")
    config = int.from_bytes(audio_config(head))
    assert (config >> 11, config >> 7 & 15, config >> 3 & 15) == (kind, rate, channels)


def test_a_server_that_dies_ends_its_sink_alone(clip):
    heard = threading.Event()

    def talk(connection: socket.socket, dead: threading.Event) -> None:
        connection.recv(1)
        heard.set()  # and hangs up

    film = clip("film.mkv", pts=range(30))
    with servers.serving(talk) as port:
        report = run(film, f"tcp://127.0.0.1:{port}", "rec.mkv")
    assert heard.is_set() and report.exit_code == 5
    assert report.sinks["rec.mkv"] == {"written": 30, "dropped": 0, "reconnects": 0, "state": "ok"}
    assert "can't be sent to" in report.sinks["tcp://127.0.0.1:" + str(port) + "/"]["state"]
