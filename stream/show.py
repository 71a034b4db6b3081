"""Puts a live session together from what was asked: its source, its sinks, its page, its control socket."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stream.capture import CameraSource, FileSource, Source, StdinSource, UrlSource, WireSource, is_http
from stream.config import Settings
from stream.container import is_url
from stream.control import Controls
from stream.endpoint import Endpoint, resolve
from stream.errors import Interrupted, UsageError
from stream.keys import Security
from stream.live import LiveReport, Session
from stream.preview import Preview
from stream.public import public_target
from stream.pubsub import Responder, Subscriber
from stream.record import Recorder
from stream.sidecar import PROVENANCE
from stream.sinks import CameraSink, PublisherSink, Y4mSink, import_camera, stdout
from stream.switch import Setting, look_to_begin_with

_CONSUMER_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was asked of a live session."""

    source: Source
    settings: Settings
    look: str = "natural"
    outs: tuple[str, ...] = ()
    """Files and servers that it is recorded to."""
    overwrite: bool = False
    publish: Endpoint | None = None
    control: Endpoint | None = None
    virtual_camera: bool = False
    y4m: bool = False
    web: tuple[str, int, str | None] | None = None
    """Host, port and token of the page."""
    security: Security = field(default_factory=Security)


def find_source(
    name: str | None, *, camera: str | None, size: tuple[int, int] | None, realtime: bool, security: Security
) -> Source:
    """The source that these words mean."""
    if (name is None) == (camera is None):
        raise UsageError("give one source: --camera N, a URL, a film, - for y4m, or zmq+ENDPOINT")
    if size is not None and camera is None:
        raise UsageError("--size is what a camera is asked for; other sources have their own")
    if camera is not None:
        return CameraSource(device=camera, size=size)
    word = str(name)
    if realtime and (word.startswith("zmq+") or (is_url(word) and not is_http(word))):
        raise UsageError("--realtime is for films; streams have a pace of their own")
    if word.startswith("zmq+"):
        where = resolve(word.removeprefix("zmq+"), connect=True)
        return WireSource(name=word, subscribe=lambda: Subscriber(where, security=security))
    if word == "-":
        return StdinSource(pace=realtime)
    return UrlSource(name=word) if is_url(word) else FileSource(name=word, pace=realtime)


def run(
    plan: Plan,
    *,
    check: Callable[[], None],
    started: Callable[[str | None], None],
    tell: Callable[[str], None],
) -> LiveReport:
    """Runs it until the source ends or `check` raises; `started` is told where the page is."""
    name, look = look_to_begin_with(plan.look)
    setting = Setting(
        look=name,
        strength=plan.settings.strength,
        steady=plan.settings.steady,
        saturation=plan.settings.saturation,
    )
    session = Session(plan.source, settings=plan.settings, setting=setting, look=look, sound=bool(plan.outs), tell=tell)
    with ExitStack() as undo:
        undo.callback(session.close)
        page = _add_sinks(session, plan, tell, check)
        if plan.control is not None:
            undo.enter_context(_answering(plan.control, plan.security, session.controls, tell))
        if not session.lanes:
            raise UsageError("nothing would come out: -o OUT, --publish, --y4m, --virtual-camera, or the page")
        started(None if page is None else page.address)
        try:
            return session.run(check)
        except Interrupted:
            # A live session has no end of its own: being told to stop is how it is meant to finish.
            report = session.report()
            if not report.frames_out:
                raise
            return report


def _add_sinks(session: Session, plan: Plan, tell: Callable[[str], None], check: Callable[[], None]) -> Preview | None:
    security, publish = plan.security, plan.publish
    patient = not (plan.source.live or plan.source.pace)

    def insist() -> bool:
        """A film without a pace waits for its consumer, unless it is told to stop."""
        try:
            check()
        except Interrupted:
            return False
        return patient and publish is not None and publish.kind == "push"

    if plan.virtual_camera:
        import_camera()
        session.add("virtual camera", CameraSink)
    for out in plan.outs:
        session.add(public_target(out), _recorder(session, plan, out, tell), target=out)
    if publish is not None:
        patience_s = _CONSUMER_S if publish.kind == "push" else 0.0
        session.add("zeromq", lambda: PublisherSink(publish, security, patience_s=patience_s, insist=insist, tell=tell))
    if plan.y4m:
        pipe = stdout()
        session.add("y4m", lambda: Y4mSink(pipe, live=not patient))
    if plan.web is None:
        return None
    host, port, token = plan.web
    page = Preview(session.controls, host=host, port=port, token=token)
    session.add("page", lambda: page)
    return page


def _recorder(session: Session, plan: Plan, out: str, tell: Callable[[str], None]) -> Callable[[], Recorder]:
    if not is_url(out) and Path(out).suffix == "":
        raise UsageError(f"-o {out}: a live recording needs an ending such as .mkv")
    source = plan.source.name if isinstance(plan.source, FileSource) else ""
    return lambda: Recorder(
        out, lambda: session.intake, overwrite=plan.overwrite, metadata=PROVENANCE, source=source, tell=tell
    )


@contextmanager
def _answering(
    endpoint: Endpoint, security: Security, controls: Controls, tell: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """The control socket at work in a thread of its own, in which it is also opened."""
    finished, ready = threading.Event(), threading.Event()
    failure: list[Exception] = []

    def work() -> None:
        try:
            with Responder(endpoint, security=security) as responder:
                if endpoint.any_port:
                    tell(f"taking requests at {responder.address}")
                ready.set()
                responder.serve(controls.answer, lambda: not finished.is_set())
        except Exception as error:  # noqa: BLE001  (raised again in the caller's thread)
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="kinochrome-control", daemon=True)
    thread.start()
    ready.wait()
    try:
        if failure:
            raise failure[0]
        yield
    finally:
        finished.set()
        thread.join()
