"""ZeroMQ for real: sockets of two threads and of two processes, stopped ones, hostile ones, encrypted ones."""

import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream import keys, pubsub, ring
from stream.capture import info_of
from stream.endpoint import resolve, runtime_folder
from stream.errors import InputError, OutputError, UsageError
from stream.frame import Frame
from stream.keys import Security
from stream.newest import Shown, Taken
from stream.publish import Announcer
from stream.pubsub import Publisher, Requester, Responder, Subscriber
from stream.sinks import Lane, PublisherSink
from stream.wire import FRAME, JPEG, FrameMessage, Heartbeat, JpegMessage, public_look

SLOW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def picture(number, size=(64, 48)):
    width, height = size
    planes = (
        np.full((height, width), number % 256, np.uint8),
        *[np.full((height // 2, width // 2), 128, np.uint8)] * 2,
    )
    return Frame(planes=planes, pts=number)


def until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@contextmanager
def linked(endpoint="reel", security=(None, None), topic=None, **more):
    where = resolve(endpoint, trusted=True)
    with Publisher(where, security=security[0]) as publisher:
        there = resolve(("push+" if where.kind == "push" else "") + publisher.address, connect=True)
        with Subscriber(there, security=security[1], topic=topic, **more) as subscriber:
            if where.kind == "pub":
                until(lambda: publisher.listeners(subscriber.topic), "no subscription came")
            yield publisher, subscriber


@pytest.mark.parametrize("endpoint", ["reel", "tcp://127.0.0.1:*", "push+reel", "push+tcp://127.0.0.1:*"])
def test_pictures_arrive_whole_and_in_order(endpoint):
    with linked(endpoint) as (publisher, subscriber):
        got = []
        for number in range(20):
            assert publisher.send(picture(number), capture_ns=time.monotonic_ns(), timeout_s=5)
            while not isinstance(message := subscriber.receive(5), FrameMessage):
                assert isinstance(message, Heartbeat)
            got.append((message.frame.pts, int(message.frame.luma[0, 0]), message.stamp.seq))
        assert [pts for pts, _, _ in got] == list(range(20)) == [grey for _, grey, _ in got]
        assert subscriber.ledger.lost == 0 and subscriber.ledger.received == 20


def test_nothing_is_encoded_for_nobody():
    with Publisher(resolve("reel")) as publisher:
        publisher.send(picture(0), capture_ns=0)
        assert not publisher.listeners(FRAME) and publisher.counts["sent"] == 0
    with linked(topic=JPEG) as (publisher, subscriber):
        publisher.send(picture(7), capture_ns=0)
        while isinstance(message := subscriber.receive(5), Heartbeat):
            pass
        assert isinstance(message, JpegMessage) and (message.width, message.height) == (64, 48)
        assert publisher.counts["sent"] == 1


def test_a_subscriber_that_leaves_is_no_longer_served():
    with linked() as (publisher, subscriber):
        subscriber.close()
        until(lambda: not publisher.listeners(FRAME), "the subscription stayed")


def test_what_is_lost_is_noticed_by_the_end():
    with linked() as (publisher, subscriber):
        for number in range(300):
            publisher.send(picture(number, (640, 480)), capture_ns=0)
        publisher.beat(ended=True)
        while not subscriber.ledger.ended:
            if subscriber.receive(0.5) is None:
                publisher.beat(ended=True)  # the first may have been dropped like any message
        assert subscriber.ledger.received + subscriber.ledger.lost in (
            299,
            300,
        )  # the first may come before the account
        assert subscriber.ledger.received < 300


def test_what_was_sent_does_not_change_when_buffers_are_used_again():
    with linked() as (publisher, subscriber):
        for start in range(0, 60, 3):
            for number in range(start, start + 3):
                publisher.send(picture(number, (640, 480)), capture_ns=0)
            for _ in range(3):
                while not isinstance(message := subscriber.receive(5), FrameMessage):
                    pass
                assert (message.frame.luma == message.frame.pts % 256).all()


def test_the_ring_gives_nothing_away_that_is_in_use():
    buffers = ring.Ring()
    taken = []
    for _ in range(ring.SLOTS):
        taken.append(buffers.take(100))
        taken[-1].busy = lambda: True
    assert buffers.take(100) is None
    taken[3].busy = lambda: False
    assert buffers.take(200).view.size == 200


def test_push_waits_for_a_consumer_and_says_when_none_comes():
    with Publisher(resolve("push+reel")) as publisher:
        assert not publisher.send(picture(0), capture_ns=0, timeout_s=0.01)
        assert publisher.counts["dropped"] == 1


def test_a_stopped_subscriber_slows_nobody_and_holds_little(tmp_path):
    code = (
        "import sys; from stream.endpoint import resolve; from stream.pubsub import Subscriber\n"
        "s = Subscriber(resolve('reel', connect=True))\n"
        "while not s.ledger.received: s.receive(10)\n"
        "print('here', flush=True)\n"
        "while not s.ledger.ended: s.receive(10)\n"
        "print(s.ledger.received, s.ledger.lost, flush=True)"
    )
    with Publisher(resolve("reel")) as publisher:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            watch_the_stopped(publisher, child)
        finally:
            child.kill()
            child.communicate()


def watch_the_stopped(publisher, child):
    ready = threading.Thread(target=child.stdout.readline)
    ready.start()
    while ready.is_alive():
        publisher.send(picture(0, (640, 480)), capture_ns=0)
        ready.join(0.005)
    os.kill(child.pid, signal.SIGSTOP)
    before, sent = resident_mb(), publisher.counts["sent"]
    for number in range(1500):
        publisher.send(picture(number, (640, 480)), capture_ns=0)
    # 1500 pictures are 690 MB; a queue of 4 and a ring of 12 are 8.
    assert resident_mb() - before < 60
    assert publisher.counts["sent"] == sent + 1500
    os.kill(child.pid, signal.SIGCONT)
    publisher.beat(ended=True)
    deadline = time.monotonic() + 20
    while child.poll() is None:
        assert time.monotonic() < deadline
        publisher.beat(ended=True)  # one may be dropped like any message
        time.sleep(0.02)
    received, lost = map(int, child.stdout.read().split())
    assert received and lost > 1000
    assert received + lost <= sent + 1500


def resident_mb():
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_sockets_are_for_their_owner_alone(tmp_path):
    with Publisher(resolve("reel")):
        path = runtime_folder() / "reel"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_runtime_folder_of_others_is_refused(tmp_path):
    (tmp_path / "kinochrome").mkdir(mode=0o777)
    (tmp_path / "kinochrome").chmod(0o777)
    with pytest.raises(OutputError, match="0700"):
        resolve("reel")


@pytest.mark.parametrize("text", ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.1.7:5555", "tcp://[::]:5555"])
def test_other_machines_need_keys_or_the_word_insecure(text):
    with pytest.raises(UsageError, match="--insecure"):
        resolve(text)
    assert resolve(text, trusted=True).address == text


@pytest.mark.parametrize(
    "text", ["", "a b", "../x", "ipc://@abstract", "ipc://relative", "tcp://127.0.0.1", "tcp://127.0.0.1:0",
             "tcp://127.0.0.1:99999", "http://127.0.0.1:1", "pgm://x;y:1", "ipc:///" + "x" * 200]
)  # fmt: skip
def test_other_endpoints_are_refused(text):
    with pytest.raises(UsageError, match="endpoint"):
        resolve(text)


def test_an_endpoint_in_use_is_one_clear_line():
    with Publisher(resolve("tcp://127.0.0.1:*")) as publisher, pytest.raises(OutputError, match="in use"):
        Publisher(resolve(publisher.address))


def test_a_file_in_the_place_of_a_socket_is_kept(tmp_path):
    film = tmp_path / "film.mkv"
    film.write_bytes(b"precious")
    for kind in (Publisher, Responder):
        with pytest.raises(OutputError, match="no socket; choose another"):
            kind(resolve(f"ipc://{film}"))
    assert film.read_bytes() == b"precious"


def test_a_second_publisher_takes_nothing_from_the_first():
    with linked() as (publisher, subscriber):
        for kind in (Publisher, Responder):
            with pytest.raises(OutputError, match="in use by a running program"):
                kind(resolve("reel"))
        publisher.send(picture(3), capture_ns=0)
        while not isinstance(message := subscriber.receive(5), FrameMessage):
            assert message is not None
        with Subscriber(resolve("reel", connect=True)):
            until(lambda: publisher.listeners(FRAME) and publisher._asked[FRAME.encode()] == 2, "the socket is gone")


def test_the_socket_of_a_publisher_that_was_killed_is_taken_over():
    path = runtime_folder() / "reel"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.is_socket()
    with linked() as (publisher, _):
        assert path.is_socket() and publisher.listeners(FRAME)
    with linked():  # and after an orderly end as well
        pass


def test_an_ipc_socket_that_was_opened_anew_stays(monkeypatch):
    sleep, slept = time.sleep, []
    with linked() as (publisher, subscriber):
        with monkeypatch.context() as patch:
            patch.setattr(pubsub.time, "sleep", lambda seconds: (slept.append(seconds), sleep(seconds)))
            publisher._reopen()
        assert sum(slept) < 2  # nobody is sent anything meanwhile
        until(lambda: subscriber.receive(0) or publisher.listeners(FRAME), "the friend did not come back")
        assert (runtime_folder() / "reel").is_socket()
        publisher.send(picture(5), capture_ns=0)
        while not isinstance(message := subscriber.receive(5), FrameMessage):
            assert message is not None


def test_what_a_live_consumer_does_not_take_is_dropped_and_leaves_a_gap():
    where = resolve("push+reel")
    lane = Lane("zeromq", lambda: PublisherSink(where, Security(), patience_s=0.001), patient=True)
    lane.started()
    with Subscriber(resolve("push+reel", connect=True)) as subscriber:
        number = 0
        while not subscriber.ledger.received:
            lane.put(shown(0))
            number += 1
            subscriber.receive(0.01)
        early = lane.dropped  # before the consumer was there: no loss of its own
        while lane.dropped < early + 5:
            lane.put(shown(number))
            number += 1
        while not subscriber.ledger.lost:  # a gap shows with the picture after it
            lane.put(shown(number))
            number += 1
            subscriber.receive(0.01)
        closing = threading.Thread(target=lane.close)
        closing.start()
        until(lambda: subscriber.receive(0.01) is None and not closing.is_alive(), "it does not end")
        closing.join()
        ledger = subscriber.ledger
        assert lane.written == ledger.received and lane.written + lane.dropped == number
        # Gaps show with the next picture or heartbeat; those before the first picture are nobody's.
        assert ledger.lost > 0 and ledger.last_seq + 1 <= number and ledger.lost <= lane.dropped


def shown(number):
    frame = picture(number, (640, 480))
    taken = Taken(frame=frame, info=info_of(frame, "x"), capture_ns=time.monotonic_ns())
    return Shown(frame=frame, taken=taken, look="/home/me/d\u00e9j\u00e0.jpg")


def test_a_film_on_push_is_told_in_its_look_and_without_gaps():
    with (
        Announcer(resolve("push+reel"), check=lambda: None, look="/home/me/art/d\u00e9j\u00e0.jpg") as announcer,
        Subscriber(resolve("push+reel", connect=True)) as subscriber,
    ):
        maker = threading.Thread(target=lambda: [announcer.see(picture(n, (640, 480))) for n in range(40)])
        maker.start()
        until(lambda: subscriber.receive(0.01) is None and not maker.is_alive(), "it does not end")
        assert (subscriber.ledger.received, subscriber.ledger.lost) == (40, 0)
        assert dict(subscriber.ledger.looks) == {"d?j?.jpg": 40}


@pytest.mark.parametrize(
    ("look", "told"),
    [("natural", "natural"), ("starry", "starry"), ("./a/b.png", "b.png"), ("x\n.jpg", "x?.jpg"), ("a" * 99, "a" * 64)],
)
def test_looks_are_told_without_folders(look, told):
    assert public_look(look) == told


def without_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return False
    except OSError:
        return True


@pytest.mark.skipif(without_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_spoken_where_an_address_says_so():
    with linked("tcp://[::1]:*") as (publisher, subscriber):
        assert publisher.address.startswith("tcp://[::1]:")
        assert publisher.send(picture(1), capture_ns=1)
        assert isinstance(subscriber.receive(5), FrameMessage | Heartbeat)


def test_the_port_that_was_taken_is_told():
    told = []
    sink = PublisherSink(resolve("push+tcp://127.0.0.1:*"), Security(), tell=told.append)
    sink.close()
    assert re.fullmatch(r"publishing at push\+tcp://127\.0\.0\.1:\d+", told[0])


def test_the_control_socket_is_for_the_user_alone():
    for text in ("tcp://127.0.0.1:5555", "tcp://localhost:*", "tcp://[::1]:5555"):
        assert resolve(text).address == text
        with pytest.raises(UsageError, match=r"every user of this machine.*--insecure"):
            resolve(text, private=True)
        assert resolve(text, private=True, trusted=True).address == text
    assert resolve("reel", private=True).path == runtime_folder() / "reel"


def make_keys(folder):
    return {name: keys.write_keys(name, folder, pubsub.new_pair) for name in ("server", "friend", "stranger")}


def test_keys_are_files_for_their_owner(tmp_path):
    public, secret = make_keys(tmp_path)["friend"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert keys.read_key(public).secret == "" != keys.read_key(secret).secret
    with pytest.raises(OutputError, match="exists already"):
        keys.write_keys("friend", tmp_path, pubsub.new_pair)
    with pytest.raises(UsageError, match="key name"):
        keys.write_keys("../friend", tmp_path, pubsub.new_pair)
    with pytest.raises(InputError, match="no key file"):
        keys.read_key(__import__("pathlib").Path(__file__))
    assert keys.decode_key("HelloWorld") == bytes.fromhex("864FD26FB559F75B")  # the example of RFC 32


def test_half_a_pair_of_keys_is_never_made(tmp_path, monkeypatch):
    (tmp_path / "me.key").write_text("mine")
    with pytest.raises(OutputError, match=r"me\.key: exists already"):
        keys.write_keys("me", tmp_path, pubsub.new_pair)
    assert [path.name for path in tmp_path.iterdir()] == ["me.key"]

    def make():
        (tmp_path / "you.key").write_text("yours")  # somebody was quicker
        return pubsub.new_pair()

    with pytest.raises(OutputError, match=r"you\.key: exists already"):
        keys.write_keys("you", tmp_path, make)
    assert not (tmp_path / "you.key_secret").exists() and (tmp_path / "you.key").read_text() == "yours"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_key_that_others_may_read_is_refused(tmp_path, mode):
    public, secret = make_keys(tmp_path)["friend"]
    secret.chmod(mode)
    with pytest.raises(InputError, match=f"chmod 600 {secret}"):
        keys.read_key(secret)
    public.chmod(mode)
    assert keys.read_key(public).public


@pytest.mark.parametrize("word", ["#" * 40, "~" * 40])
def test_what_is_no_key_is_said_in_a_line(tmp_path, word):
    path = tmp_path / "odd.key"
    path.write_text(f'curve\n    public-key = "{word}"\n')
    with pytest.raises(InputError, match="no key file"):
        keys.read_key(path)


def test_encrypted_links_carry_jpeg_to_keys_on_the_list_alone(tmp_path):
    made = make_keys(tmp_path)
    friends = tmp_path / "friends"
    friends.mkdir()
    (friends / "friend.key").write_text(made["friend"][0].read_text())
    server = Security(own=made["server"][1], peers=friends)
    friend = Security(own=made["friend"][1], peers=made["server"][0])
    stranger = Security(own=made["stranger"][1], peers=made["server"][0])
    with linked("tcp://127.0.0.1:*", (server, friend)) as (publisher, subscriber):
        there = resolve(publisher.address, connect=True)
        with Subscriber(there, security=stranger) as refused, Subscriber(there, topic=JPEG) as bare:
            got = []
            while len(got) < 3:
                publisher.send(picture(1), capture_ns=0)
                if isinstance(message := subscriber.receive(5), JpegMessage):
                    got.append(message)
            assert refused.receive(0.3) is None and bare.receive(0.1) is None
        until(lambda: publisher._guard.refused, "nobody was refused")


def test_half_of_what_keys_need_is_refused(tmp_path):
    made = make_keys(tmp_path)
    where = resolve("tcp://127.0.0.1:*")
    for security in (
        Security(own=made["server"][1]),
        Security(own=made["server"][1], peers=tmp_path / "nowhere"),
        Security(own=made["server"][0], peers=tmp_path),
        Security(peers=tmp_path),
    ):
        with pytest.raises(UsageError):
            Publisher(where, security=security)


def raw_peer(address):
    host, port = address.removeprefix("tcp://").rsplit(":", 1)
    return socket.create_connection((host, int(port)))


ZMTP = b"\xff" + struct.pack(">Q", 1) + b"\x7f\x03\x00NULL" + bytes(48)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5), st.booleans())
@SLOW
def test_random_bytes_at_the_publishers_port_harm_nobody(chunks, greeted):
    with linked("tcp://127.0.0.1:*") as (publisher, subscriber), raw_peer(publisher.address) as peer:
        for chunk in [ZMTP, *chunks] if greeted else chunks:
            try:
                peer.sendall(chunk)
            except OSError:
                break
        publisher.send(picture(3), capture_ns=0)
        while not isinstance(message := subscriber.receive(5), FrameMessage):
            assert message is not None
        assert message.frame.pts == 3


@given(st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=4), min_size=1, max_size=20))
@SLOW
def test_hostile_subscriptions_are_rejected_and_counted(messages):
    with linked("tcp://127.0.0.1:*") as (publisher, subscriber), zmq.Context() as context:
        with context.socket(zmq.XSUB) as peer:
            peer.linger = 0
            peer.connect(publisher.address)
            for parts in messages:
                peer.send_multipart([b"\1no such topic", *parts])
            until(lambda: publisher.listeners(FRAME) and publisher.counts["rejected"], "nothing was rejected")
        publisher.send(picture(3), capture_ns=0)
        while not isinstance(message := subscriber.receive(5), FrameMessage):
            assert message is not None


def test_a_flood_of_subscriptions_costs_its_sender_the_connection(monkeypatch):
    monkeypatch.setattr(pubsub, "MAX_STRANGERS", 200)
    with linked("tcp://127.0.0.1:*") as (publisher, subscriber), zmq.Context() as context:
        with context.socket(zmq.XSUB) as peer:
            peer.linger = 0
            peer.connect(publisher.address)
            number = 0
            while not publisher.counts["reopened"]:
                peer.send(b"\1%d" % number)
                number += 1
                publisher.listeners(FRAME)
        # A subscriber says anew what it wants when it next looks for messages.
        until(lambda: subscriber.receive(0) or publisher.listeners(FRAME), "the friend did not come back")
        publisher.send(picture(5), capture_ns=0)
        while not isinstance(message := subscriber.receive(5), FrameMessage):
            assert message is not None


PARTS = st.lists(st.binary(max_size=100), max_size=7)


@given(st.lists(PARTS, min_size=1, max_size=10))
@SLOW
def test_hostile_publishers_are_rejected_and_counted(messages):
    with zmq.Context() as context, context.socket(zmq.PUSH) as peer:
        peer.linger = 0
        port = peer.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(resolve(f"push+tcp://127.0.0.1:{port}", connect=True)) as subscriber:
            for parts in messages:
                peer.send_multipart([b"frame", *parts])
            until(lambda: subscriber.receive(0.02) or subscriber.rejected.total() == len(messages), "not all rejected")
            assert subscriber.ledger.received == 0


def test_parts_that_are_too_large_are_not_even_taken_in(monkeypatch):
    monkeypatch.setattr(pubsub, "SILENCE_S", 0.1)
    with zmq.Context() as context, context.socket(zmq.PUSH) as peer:
        peer.linger = 0
        port = peer.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(resolve(f"push+tcp://127.0.0.1:{port}", connect=True), max_part=1000) as subscriber:
            peer.send_multipart([b"frame", b"{}", bytes(100_000)])
            until(lambda: subscriber.receive(0.05) or subscriber.reconnects, "it never connects anew")
            until(lambda: subscriber.receive(0.02) or peer.poll(0, zmq.POLLOUT), "nobody is there")
            peer.send_multipart([b"frame", b"{}"])
            until(lambda: subscriber.receive(0.02) or subscriber.rejected, "it did not come back")


@contextmanager
def control(answer):
    with Responder(resolve("tcp://127.0.0.1:*")) as responder:
        wanted = threading.Event()
        thread = threading.Thread(target=responder.serve, args=(answer, lambda: not wanted.is_set()))
        thread.start()
        try:
            yield responder.address
        finally:
            wanted.set()
            thread.join()


@given(st.lists(st.lists(st.binary(max_size=200), min_size=1, max_size=5), min_size=1, max_size=8))
@SLOW
def test_hostile_requests_get_an_answer_and_harm_nobody(messages):
    with (
        control(lambda request: ({"got": len(request)}, None)) as address,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as peer,
        Requester(resolve(address, connect=True)) as friend,
    ):
        peer.linger = 0
        peer.connect(address)
        for parts in messages:
            peer.send_multipart(parts)
        assert friend.ask({"op": "x"})[0] == {"got": len(json.dumps({"op": "x"}))}


def test_no_answer_is_one_clear_line():
    with Requester(resolve("tcp://127.0.0.1:9", connect=True)) as friend, pytest.raises(InputError, match="no answer"):
        friend.ask({}, timeout_s=0.05)
