"""Recordings that go to servers: FFmpeg listens as RTMP's, RTSP's and TCP's; others refuse, hang and die."""

import socket
import threading
from itertools import pairwise

import pytest
import servers

from stream import show
from stream.capture import FileSource
from stream.config import Settings
from stream.errors import OutputError
from stream.live import Session
from stream.record import Recorder

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


def test_a_server_that_says_nothing_stops_nobody_and_is_given_up(clip, monkeypatch):
    monkeypatch.setattr("stream.relay.TIMEOUT_S", 1.0)
    film = clip("film.mkv", pts=range(60))

    class Kept(list):
        write, idle, close = list.append, lambda self: None, lambda self: None

    kept = Kept()
    with servers.serving(lambda connection, dead: dead.wait(30)) as port:
        made = Session(FileSource(name=str(film), pace=True), settings=SMALL)
        target = f"rtmp://127.0.0.1:{port}/live/x"
        made.add("server", lambda: Recorder(target, lambda: made.intake, overwrite=False, metadata=""))
        made.add("eye", lambda: kept)
        report = made.run(lambda: None)
    assert "took nothing for 1 s" in report.sinks["server"]["state"] and report.exit_code == 5
    assert report.sinks["eye"] == {"written": report.frames_out, "dropped": 0, "state": "ok"}
    assert report.frames_out > 5


def test_a_server_that_dies_ends_its_sink_alone(clip):
    heard = threading.Event()

    def talk(connection: socket.socket, dead: threading.Event) -> None:
        connection.recv(1)
        heard.set()  # and hangs up

    film = clip("film.mkv", pts=range(30))
    with servers.serving(talk) as port:
        report = run(film, f"tcp://127.0.0.1:{port}", "rec.mkv")
    assert heard.is_set() and report.exit_code == 5
    assert report.sinks["rec.mkv"] == {"written": 30, "dropped": 0, "state": "ok"}
    assert "can't be sent to" in report.sinks["tcp://127.0.0.1:" + str(port) + "/"]["state"]
