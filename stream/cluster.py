"""One film, or a shelf of them, on many machines: segments are handed out over Ray (https://ray.io).

    with open_cluster("auto") as cluster:
        colorize("reel.mkv", "reel-colour.mkv", job=Job(cluster=cluster))

On every machine an actor for each GPU, or where there is none for a few cores, keeps the engine loaded. Whoever is free
gets the next segment; one that was lost with its machine is handed out again. Ray asks nobody who they are: see
the README before you open its ports.
"""

import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

# Ray reports to its makers unless told not to, and kills workers when other programs fill the memory.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stream.errors import EngineError, KinochromeError, ResourceError, UsageError
from stream.job import JobFolder, folder_of
from stream.manifest import Entry, Place
from stream.part import GOES_ON, naming_failures
from stream.reel import Film, Watch
from stream.scan import Planned, plan
from stream.worker import Made, Order, Worker, know

CORES: Final = 4
"""So many of a machine without a GPU make a worker."""
ATTEMPTS: Final = 3
"""So often is a segment handed out before the film is given up."""
_AHEAD: Final = 3
"""Segments that are planned and wait, for each worker."""
_BLOCK: Final = 16 << 20
_ANSWER_S: Final = 5.0
_HEAD_BYTES: Final = 9
_SETTINGS: Final = (
    b"\0\0\0\4\0\0\0\0\0"  # a frame of HTTP/2 without content: what both sides begin with (RFC 9113, 3.4)
)


@contextmanager
def open_cluster(
    where: str, *, gpus: bool = True, cores: int = CORES, processors: int | None = None
) -> Iterator["RayCluster"]:
    """Workers on this machine ("local"), on the cluster that it belongs to ("auto"), or on that at an address.

    gpus: False where processors shall do all the work. cores: so many of a machine without GPUs make a worker.
    processors: what this machine shall have, for "local". Nothing is left of it in the end.
    """
    _connect(where, processors)
    cluster = RayCluster(cores, gpus=gpus)
    try:
        yield cluster
    finally:
        cluster.close()
        ray.shutdown()


def _connect(where: str, processors: int | None) -> None:
    address = _host_of(where)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if where == "local":
            ray.init(address="local", include_dashboard=False, num_cpus=processors, **quiet)
        else:
            # Ray itself waits and logs for minutes.
            os.environ["RAY_gcs_rpc_server_connect_timeout_s"] = "5"  # noqa: SIM112  (that is its name)
            if address is not None:
                _knock(address)
            ray.init(address=where, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ResourceError(
            f"--cluster {where}: no Ray cluster answers there ({reason}); start one with: ray start --head"
        ) from error


def _knock(address: tuple[str, int]) -> None:
    """Whether somebody there speaks HTTP/2, as Ray does; OSError if not, within 2 x `_ANSWER_S`."""
    with socket.create_connection(address, timeout=_ANSWER_S) as connection:
        if os.environ.get("RAY_USE_TLS") == "1":  # another handshake comes first
            return
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
        head = connection.recv(_HEAD_BYTES, socket.MSG_WAITALL)
    if len(head) < _HEAD_BYTES or head[3] != _SETTINGS[3]:
        raise ConnectionError("what listens there is not Ray")


def _host_of(where: str) -> tuple[str, int] | None:
    """Host and port of an address; None for a cluster that needs none."""
    if where in ("local", "auto"):
        return None
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--cluster {where}; local, auto or HOST:PORT is allowed")
    return host, int(port)


@dataclass(kw_only=True, eq=False)
class _Hand:
    """A worker, seen from here."""

    node: str
    actor: Any
    ready: bool = False
    order: Order | None = None


@dataclass(kw_only=True)
class _Board:
    """What is to be done on one film."""

    plan: Iterator[Planned]
    ready: deque[Order] = field(default_factory=deque)
    waiting: dict[int, Planned] = field(default_factory=dict)
    """Segments whose state isn't known yet, by their first frame."""
    attempts: dict[int, int] = field(default_factory=dict)
    planned_all: bool = False


class Share(NamedTuple):
    """What of a machine makes a worker."""

    cores: int
    gpus: int


def shares(resources: Mapping[str, float], cores: int, *, gpus: bool) -> list[Share]:
    """A worker for each GPU of a machine, with its part of the cores; where there is none, for `cores` of them each."""
    cpus, cards = int(resources.get("CPU", 0)), int(resources.get("GPU", 0)) if gpus else 0
    if cards:
        return [Share(cpus // cards, 1)] * cards
    if not cpus:
        return []
    count = max(1, cpus // cores)
    return [Share(cpus // count, 0)] * count


class RayCluster:
    """Workers on all machines of a cluster."""

    def __init__(self, cores: int, *, gpus: bool = True) -> None:
        self._remote = ray.remote(Worker)
        found = [
            (share, node["NodeID"])
            for node in ray.nodes()
            if node["Alive"]
            for share in shares(node["Resources"], cores, gpus=gpus)
        ]
        # GPUs first: the first worker says what engine the others must have.
        self._hands = [self._hire(*each) for each in sorted(found, key=lambda each: -each[0].gpus)]
        if not self._hands:
            raise ResourceError("the cluster has no machine with a core that is free")

    @property
    def size(self) -> int:
        """How many workers there are."""
        return len(self._hands)

    def _hire(self, share: Share, node: str) -> _Hand:
        actor = self._remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            max_restarts=0,
            num_cpus=share.cores,
            num_gpus=share.gpus,
        ).remote(max(1, share.cores), gpu=share.gpus > 0)
        return _Hand(node=node, actor=actor)

    def prepare(self, film: Film, *, mixed: bool, tell: Callable[[str], None]) -> dict[str, str]:
        """Makes the workers ready for a film; the engine that they have in common.

        A worker with another one is left out, unless `mixed`.
        """
        folder = folder_of(film.output.path).resolve()
        token = folder / f"cluster-{os.getpid()}"
        token.touch()
        try:
            found = list(self._prepare_all(film.absolute(), token, mixed=mixed, tell=tell))
        finally:
            token.unlink()
        if not found:
            raise EngineError(f"{film.info.path}: no worker of the cluster could begin with it")
        usual = found[0][1]
        for hand, identity in found:
            hand.ready = mixed or identity == usual
            if not hand.ready:
                words = f"it has {', '.join(identity.values())} and others {', '.join(usual.values())}"
                tell(f"a worker on node {hand.node[:8]} is left out: {words}; --allow-mixed takes it")
        return usual

    def _prepare_all(
        self, film: Film, token: Path, *, mixed: bool, tell: Callable[[str], None]
    ) -> Iterator[tuple[_Hand, dict[str, str]]]:
        known, asked = know(film), []
        for hand in list(self._hands):
            hand.ready = False
            try:
                if lacking := ray.get(hand.actor.find.remote(film, known, str(token))):
                    tell(f"a worker on node {hand.node[:8]} is left out: {lacking}")
                    continue
                if not ray.get(hand.actor.has_film.remote()):
                    self._ship(Path(film.info.path), hand)
            except RayActorError:
                self._hands.remove(hand)
                continue
            asked.append((hand, hand.actor.prepare.remote(film, mixed=mixed)))
        for hand, answer in asked:
            try:
                yield hand, ray.get(answer)
            except RayActorError:
                self._hands.remove(hand)
            except RayTaskError as error:
                raise _ours(error) from error

    def _ship(self, path: Path, hand: _Hand) -> None:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                ray.get(hand.actor.receive.remote(block))  # one at a time: memory stays bounded

    def colour(self, film: Film, folder: JobFolder, watch: Watch) -> Generator[int, None, None]:
        """Makes all segments that aren't there yet; yields the frames of each as it is finished."""
        folder.first_hole()  # drops what isn't whole
        for hand in self._hands:
            if hand.ready:
                hand.actor.code_with.remote(folder.begun.encoder_threads)
        board = _Board(plan=plan(film, watch))
        running: dict[Any, _Hand] = {}
        try:
            while True:
                self._hand_out(board, folder, running)
                if not running:
                    break
                done, _ = ray.wait(list(running), num_returns=1)
                yield from self._take(done[0], running.pop(done[0]), board, folder)
        finally:
            for answer in running:
                ray.cancel(answer, force=False)
        if board.ready or board.waiting:
            raise ResourceError("all workers of the cluster are gone; the same command goes on where it was")
        if (hole := folder.first_hole()) is not None:
            raise EngineError(
                f"the segments that were there and the cluster's don't meet at frame {hole.number}; the same command "
                "without --cluster goes on"
            )

    def _hand_out(self, board: _Board, folder: JobFolder, running: dict[Any, _Hand]) -> None:
        """Gives every free worker a segment; plans no further ahead than they need."""
        free = [hand for hand in self._hands if hand.ready and hand.order is None]
        most = _AHEAD * self.size
        while not board.planned_all and len(board.ready) < len(free) + 1 and len(board.waiting) < most:
            planned = next(board.plan, None)
            if planned is None:
                board.planned_all = True
                break
            self._sort_in(planned, board, folder)
        for hand in free:
            if not board.ready:
                return
            hand.order = board.ready.popleft()
            path = folder.file(hand.order.planned.place.number).resolve()
            running[hand.actor.make.remote(hand.order, str(path))] = hand

    def _sort_in(self, planned: Planned, board: _Board, folder: JobFolder) -> None:
        place = planned.place
        if place.number in folder.begun.entries and not _is_missed(planned.next, folder):
            return
        if place.number in folder.begun.entries:
            folder.drop(place.number)
        if not place.carried:
            board.ready.append(Order(planned=planned, carry=None))
        elif (carry := folder.packed(place.number)) is not None:
            board.ready.append(Order(planned=planned, carry=carry))
        else:
            board.waiting[place.number] = planned

    def _take(self, answer: object, hand: _Hand, board: _Board, folder: JobFolder) -> Iterator[int]:
        """Enters a segment that was made, or puts it back."""
        order = hand.order
        if order is None:
            raise ValueError("a worker without an order has answered")
        hand.order = None
        start = order.planned.place.number
        try:
            made = cast(Made, ray.get(answer))
        except RayActorError as error:
            self._hands.remove(hand)
            board.attempts[start] = board.attempts.get(start, 0) + 1
            if board.attempts[start] >= ATTEMPTS:
                raise ResourceError(
                    f"{ATTEMPTS} workers were lost over the segment that begins with frame {start}; the same command "
                    "goes on where it was"
                ) from error
            board.ready.appendleft(order)
            return
        except RayTaskError as error:
            raise _ours(error) from error
        self._enter(order.planned, made, board, folder)
        yield order.planned.end - start

    def _enter(self, planned: Planned, made: Made, board: _Board, folder: JobFolder) -> None:
        start = planned.place.number
        notices = folder.begun.notices
        notices += [notice for notice in made.notices if notice not in notices]
        if made.data is not None:
            with naming_failures(folder.file(start), kept=GOES_ON), folder.open_segment(start) as file:
                file.take(made.data)
                file.finish()
        if planned.next is not None and planned.next.carried:
            if made.carry is None:
                raise EngineError(f"the segment that begins with frame {start} came without what the next one needs")
            folder.keep_packed(planned.next.number, made.carry)
            following = board.waiting.pop(planned.next.number, None)
            if following is not None:
                board.ready.append(Order(planned=following, carry=made.carry))
        folder.enter(
            Entry(
                start=start,
                end=planned.end,
                sha256=made.sha256,
                bytes=made.size,
                counts=planned.counts,
                next=planned.next,
                remarks=planned.remarks,
            )
        )

    def close(self) -> None:
        """Lets the workers go."""
        for hand in self._hands:
            ray.kill(hand.actor)
        self._hands.clear()


def _is_missed(place: Place | None, folder: JobFolder) -> bool:
    """The next segment is neither there nor can be begun: the one before must be made again."""
    if place is None or not place.carried or place.number in folder.begun.entries:
        return False
    return folder.packed(place.number) is None


def _ours(error: RayTaskError) -> KinochromeError:
    """A worker's error as it was raised there."""
    cause = error.cause
    return cause if isinstance(cause, KinochromeError) else EngineError(f"a worker failed: {cause}")
