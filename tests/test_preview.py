"""The page for real: an HTTP server, WebSockets good and bad, and headless Chromium."""

import json
import logging
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from stream import control, switch
from stream import preview as preview_module
from stream.capture import info_of
from stream.control import Controls
from stream.errors import OutputError, UsageError
from stream.exposition import expose
from stream.frame import ColorTags, Frame
from stream.newest import Shown, Taken
from stream.preview import MAX_MISTAKES, MAX_WATCHERS, Preview
from stream.switch import Setting

NODE = Path(__file__).parent / "node"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
NUMBERS = {
    "source": "a film", "state": "live", "reason": "", "frames_in": 9, "frames_out": 7, "frames_dropped": 2,
    "reconnects": 0, "lost_s": 1.5,
    "age_ms": 3, "fps": 21.5, "latency_ms": {"p50": 40.0, "p95": 50.0, "p99": 60.0}, "rejected": 0,
    "notice": "the look wave can't be put on",
    "sinks": {"page": {"written": 7, "dropped": 0, "reconnects": 0, "state": "ok"}},
}  # fmt: skip


def shown(number, setting=None, size=(320, 180)):
    """A picture in colour made of a grey one; both move."""
    width, height = size
    ramp = (np.arange(width, dtype=np.uint8)[None, :] // 2 + np.arange(height, dtype=np.uint8)[:, None]) // 2
    luma = (ramp + 40 + number * 3 % 90).astype(np.uint8)
    setting = setting or Setting()
    swing = 50 * setting.saturation * (1 if setting.look == "natural" else -1)
    chroma = [np.full((height // 2, width // 2), 128 + sign * swing, np.uint8) for sign in (-1, 1)]
    frame = Frame(planes=(luma, *chroma), pts=number)
    taken = Taken(frame=Frame(planes=(luma,), pts=number), info=info_of(frame, "film"), capture_ns=0)
    return Shown(frame=frame, taken=taken, look=setting.look)


@contextmanager
def preview(controls=None, **more):
    controls = controls or Controls(Setting())
    controls.numbers = lambda: NUMBERS | {"rejected": controls.rejected}
    page = Preview(controls, **more)
    try:
        yield page
    finally:
        page.close()


@contextmanager
def running(page, controls):
    """Pictures come, twenty a second, as from a session."""
    stop = threading.Event()

    def show():
        number = 0
        while not stop.wait(0.05):
            if not controls.paused:
                picture = shown(number, controls.setting)
                controls.last = picture.frame
                page.write(picture)
                number += 1

    thread = threading.Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def get(page, path, headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{page.port}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def ws(page, path="/ws", **more):
    return connect(f"ws://127.0.0.1:{page.port}{path}", max_size=1 << 24, **more)


def next_picture(peer):
    while isinstance(message := peer.recv(timeout=10), str):
        pass
    length = struct.unpack(">I", message[:4])[0]
    head = json.loads(message[4 : 4 + length])
    body = message[4 + length :]
    return head, body[: head["after"]], body[head["after"] :]


def next_reply(peer, ok):
    while True:
        message = peer.recv(timeout=10)
        if isinstance(message, str) and json.loads(message)["ok"] is ok:
            return json.loads(message)


def test_the_logging_of_the_program_around_it_is_left_alone(tmp_path):
    handler = logging.FileHandler(tmp_path / "log")
    with preview():
        assert not handler.stream.closed
    handler.close()


def test_the_page_has_all_it_needs_and_nothing_from_elsewhere():
    with preview() as page:
        for path in ("/", "/embed", "/page.js", "/picture.js", "/page.css", "/icon.svg"):
            status, body, headers = get(page, path)
            assert status == 200 and body and "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'self'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert b"https://" not in body and b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.js/../../x",
     "/static/../preview.py", "/page/index.html", "/etc/passwd", "/page.js%00.css", "/index.html"],
)  # fmt: skip
def test_no_file_of_the_machine_can_be_read(path):
    with preview() as page, socket.create_connection(("127.0.0.1", page.port), timeout=10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := raw.recv(65536):
            answer += chunk
        assert answer.split(b" ")[1] in (b"404", b"400"), answer[:200]
        assert b"root:" not in answer


@given(st.text("abcdefghijklmnopqrstuvwxyz/.%20\\:~", max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_other_address_answers(open_page, path):
    status, _, _ = get(open_page, "/" + path.replace(" ", "%20").replace("%", "%25"))
    assert status == 404 or path in ("", "embed", "state", "metrics")


@pytest.fixture(scope="module")
def open_page():
    with preview() as page:
        yield page


def test_pictures_come_only_to_those_who_look_and_only_as_fast_as_they_draw():
    with preview() as page:
        page.write(shown(0))
        assert page.encoded == 0
        with ws(page) as peer:
            peer.recv(timeout=10)
            for number in range(1, 30):
                page.write(shown(number))
            head, after, before = next_picture(peer)
            assert before == b"" and cv2.imdecode(np.frombuffer(after, np.uint8), 1).shape == (180, 320, 3)
            assert (head["width"], head["height"]) == (320, 180)
            seen = 1
            for _ in range(3):  # of the state that comes twice a second
                while not isinstance(peer.recv(timeout=10), str):
                    seen += 1
            assert seen <= 2  # so many may be under way; the third waits until one was drawn
            peer.send("drawn")
            page.write(shown(31))
            while next_picture(peer)[0]["seq"] < 29:
                peer.send("drawn")


def test_what_it_was_made_of_comes_to_those_who_compare():
    with preview() as page, ws(page) as peer:
        peer.send("compare")
        next_reply(peer, True)
        peer.send('{"v": 1, "op": "state"}')
        next_reply(peer, True)
        before = b""
        for number in range(200):
            page.write(shown(number))
            _, after, before = next_picture(peer)
            peer.send("drawn")
            if before:
                break
        colours = [cv2.imdecode(np.frombuffer(data, np.uint8), 1)[90, 160].astype(int) for data in (before, after)]
        assert np.ptp(colours[0]) <= 3 < np.ptp(colours[1])


def test_the_look_is_switched_over_the_socket():
    controls = Controls(Setting())
    with preview(controls) as page, ws(page) as peer:
        peer.send('{"v": 1, "op": "set", "steady": 0.25, "saturation": 1.5}')
        while next_reply(peer, True)["state"]["steady"] != 0.25:
            pass
        assert controls.setting == Setting(steady=0.25, saturation=1.5)
        peer.send('{"v": 1, "op": "set", "look": "no such look"}')
        assert "there are natural" in next_reply(peer, False)["error"]
        assert get(page, "/state")[1] and json.loads(get(page, "/state")[1])["steady"] == 0.25


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ],
)
def test_other_sites_and_other_names_are_refused(open_page, headers, status):
    assert get(open_page, "/state", headers)[0] == status


def test_a_websocket_of_another_site_is_refused(open_page):
    with pytest.raises((InvalidStatus, ConnectionClosed)), ws(open_page, origin="https://evil.example") as peer:
        peer.recv(timeout=10)


def test_pixels_that_are_not_square_are_shown_in_their_proportions():
    one = shown(3, size=(320, 180))
    for aspect, size in ((Fraction(4, 3), (427, 180)), (Fraction(8, 9), (320, 202))):
        taken = replace(one.taken, info=replace(one.taken.info, pixel_aspect=aspect))
        with preview() as page, connect(page.address.replace("http", "ws") + "ws") as watcher:
            while not page._watchers:
                time.sleep(0.01)
            page.write(replace(one, taken=taken))
            while isinstance(data := watcher.recv(5), str):
                pass
        head = json.loads(data[4 : 4 + struct.unpack(">I", data[:4])[0]])
        assert (head["width"], head["height"]) == size


def test_other_addresses_need_the_token():
    with preview(host="0.0.0.0") as page:
        assert page.token and page.token in page.address and "0.0.0.0" not in page.address
        with urllib.request.urlopen(page.address, timeout=5) as answer:
            assert answer.status == 200
        assert get(page, "/")[0] == get(page, "/?token=wrong")[0] == 403
        status, _, headers = get(page, f"/?token={page.token}")
        assert status == 200 and "HttpOnly" in headers["set-cookie"]
        cookie = headers["set-cookie"].split(";")[0]
        assert get(page, "/page.js", {"Cookie": cookie})[0] == 200
        with pytest.raises((InvalidStatus, ConnectionClosed)), ws(page) as peer:
            peer.recv(timeout=10)
        with ws(page, f"/ws?token={page.token}") as peer:
            assert json.loads(peer.recv(timeout=10))["ok"]


@pytest.mark.parametrize("token", ["a b", "a&b", "a;b", "x\r\ny", "\u00e9", "x" * 129])
def test_a_token_that_a_url_would_change_is_refused(token):
    with pytest.raises(UsageError, match="letters, digits"):
        Preview(Controls(Setting()), token=token)


def test_a_port_in_use_is_one_clear_line():
    with preview() as page, pytest.raises(OutputError, match="choose another --web or --port"):
        Preview(Controls(Setting()), port=page.port)


@given(st.lists(st.binary(max_size=300) | st.text(max_size=300), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hostile_messages_harm_nobody(open_page, messages):
    with ws(open_page) as peer, ws(open_page) as friend:
        for message in messages:
            peer.send(message)
        friend.send('{"v": 1, "op": "state"}')
        assert next_reply(friend, True)["state"]["looks"]["natural"] == {"strength": False}


def test_who_keeps_sending_nonsense_is_sent_away():
    with preview() as page:
        with pytest.raises(ConnectionClosed), ws(page) as peer:
            for _ in range(MAX_MISTAKES):
                peer.send("nonsense")
            while True:
                peer.recv(timeout=10)
        with pytest.raises(ConnectionClosed), ws(page) as peer:
            peer.send("x" * 5000)
            while True:
                peer.recv(timeout=10)


def test_who_has_itself_answered_and_reads_nothing_is_sent_away():
    with preview() as page, socket.create_connection(("127.0.0.1", page.port), timeout=10) as peer:
        peer.sendall(
            b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
        with pytest.raises((ConnectionError, TimeoutError)):
            for _ in range(3000):
                peer.sendall(100 * ping)
        with ws(page) as friend:
            assert friend.recv(timeout=10)


def test_connections_that_ask_for_nothing_keep_nobody_out(monkeypatch):
    monkeypatch.setattr(preview_module, "HURRY_S", 0.5)
    with preview() as page, ExitStack() as peers:
        for _ in range(preview_module.MAX_CONNECTIONS + 20):
            peer = peers.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=10))
            with suppress(ConnectionError):
                peer.sendall(b"GET / HTTP/1.1\r\nHost:")
        deadline = time.monotonic() + 10
        while True:
            with suppress(OSError):
                assert get(page, "/state")[0] == 200
                break
            assert time.monotonic() < deadline
        with ws(page) as friend:
            assert all(friend.recv(timeout=10) for _ in range(4))  # two seconds: a WebSocket may be silent


def test_there_is_an_end_to_how_many_look():
    with preview() as page, ExitStack() as peers:
        for _ in range(MAX_WATCHERS):
            peers.enter_context(ws(page)).recv(timeout=10)
        with pytest.raises((InvalidStatus, ConnectionClosed)), ws(page) as peer:
            peer.recv(timeout=10)


def test_the_snapshot_is_the_whole_picture():
    controls = Controls(Setting())
    with preview(controls) as page:
        assert get(page, "/snapshot.png")[0] == 503
        controls.last = shown(5, size=(1600, 900)).frame
        picture = cv2.imdecode(np.frombuffer(get(page, "/snapshot.png")[1], np.uint8), 1)
        assert picture.shape == (900, 1600, 3)


def test_prometheus_reads_the_same_numbers():
    with preview() as page:
        text = get(page, "/metrics")[1].decode()
    assert "kinochrome_frames_dropped_total 2.0" in text and "kinochrome_fps 21.5" in text
    assert "kinochrome_lost_seconds_total 1.5" in text
    assert 'kinochrome_latency_seconds{quantile="0.99"} 0.06' in text
    assert 'kinochrome_sink_written_total{sink="page"} 7.0' in text
    assert expose(NUMBERS)[0].decode() == text


def test_colours_are_those_of_the_matrix():
    # Pure red of BT.709, limited range, by ITU-T H.273.
    planes = [np.full((2, 2), value, np.uint8) for value in (63, 102, 240)]
    from stream.jpeg import to_bgr

    frame = Frame(planes=tuple(planes), subsampling=(0, 0), tags=ColorTags(matrix="bt709"))
    assert np.abs(to_bgr(frame)[0, 0].astype(int) - (0, 0, 255)).max() <= 2


def test_the_page_in_chromium(tmp_path, monkeypatch):
    if CHROMIUM is None or shutil.which("node") is None or not (NODE / "node_modules" / "playwright-core").is_dir():
        pytest.skip("needs Chromium, Node and playwright-core (.ci/run installs them; npm ci --prefix tests/node)")
    # A second look, so that there is one to switch to whatever this release's weights can do.
    both = ("natural", "other")
    monkeypatch.setattr(switch, "available_looks", lambda: both)
    monkeypatch.setattr(control, "available_looks", lambda: both)
    monkeypatch.setattr(control, "has_strength", lambda look: look == "other")
    controls = Controls(Setting())
    with preview(controls) as page:
        port = page.port
        child = subprocess.Popen(
            ["node", "page.mjs", page.address, str(tmp_path)],
            cwd=NODE, env=os.environ | {"CHROMIUM": CHROMIUM}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            with running(page, controls):
                assert hear(child, "moves")
                slid = hear(child, "slides")
                assert slid["moved"] and slid["value"] > 50 and 20 <= slid["clicked"] <= 30
                assert np.ptp(slid["before"][:3]) <= 3 < np.ptp(slid["after"][:3])
                seen = hear(child, "looks")
                assert seen["looks"] == list(both) and seen["strength"] == [False, True]
                assert seen["remark"] == NUMBERS["notice"]
                assert (controls.setting.look, controls.setting.saturation) == ("other", 0.5)
                tell(child)
                hear(child, "snapshot")
                assert cv2.imread(str(tmp_path / "snapshot.png")).shape == (180, 320, 3)
            page.close()
            tell(child)
            hear(child, "lost")
            with preview(controls, port=port) as again, running(again, controls):
                tell(child)
                back = hear(child, "back")
                assert back["problems"] == []
                assert hear(child, "sizes") == {"step": "sizes", "bars": [0, 0, 0]}
                notice, hint = hear(child, "words")["words"]
                assert notice == "preparing the network" and hint.startswith("S snapshot. These")
                assert {origin for origin in back["asked"] if origin != "null"} <= {
                    f"http://127.0.0.1:{port}",
                    f"ws://127.0.0.1:{port}",
                }
                assert hear(child, "quiet")["problems"] == []
                assert hear(child, "embed") == {"step": "embed", "rest": "", "wide": False}
            assert child.wait(20) == 0
        finally:
            child.kill()
            child.communicate()


def hear(child, step):
    line = child.stdout.readline()
    assert line, f"the browser ended before {step}"
    facts = json.loads(line)
    assert facts["step"] == step
    return facts


def tell(child):
    child.stdin.write("on\n")
    child.stdin.flush()
