"""The commands of live video: `live`, `watch`, `keys`. The others are in stream/commands.py."""

import re
import webbrowser
from contextlib import suppress
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from stream.commands import app, check_settings
from stream.config import Settings
from stream.endpoint import Endpoint, resolve
from stream.errors import EXIT_DAMAGED, EXIT_DONE, Interrupted, UsageError
from stream.keys import Security, write_keys
from stream.options import (
    AllowOption,
    InsecureOption,
    Json,
    KeysOption,
    PublishOption,
    RuntimeOption,
    Saturation,
    Steady,
    Strength,
    Threads,
)

ServerOption = Annotated[
    Path | None, typer.Option("--server", metavar="FILE", help="The publisher's public key, NAME.key.")
]


@app.command()
def live(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(metavar="IN", show_default=False, help="A URL, a film, - (y4m), or zmq+ENDPOINT.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="A camera: its number or name.")] = None,
    list_cameras: Annotated[bool, typer.Option("--list-cameras", help="Show the cameras and leave.")] = False,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="What to ask the camera for.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play a film at its own pace.")] = False,
    style: Annotated[str, typer.Option(help="The look to begin with (kinochrome looks), or a picture.")] = "natural",
    strength: Strength = Settings.strength,
    out: Annotated[
        list[str] | None,
        typer.Option("-o", "--out", metavar="OUT", help="Record: a file, RTMP, RTSP or HLS; repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace OUT if it exists.")] = False,
    publish: PublishOption = None,
    control: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Take requests over ZeroMQ (docs/wire.md).")
    ] = None,
    virtual_camera: Annotated[bool, typer.Option("--virtual-camera", help="Be a camera for other programs.")] = False,
    y4m: Annotated[bool, typer.Option("--y4m", help="y4m on stdout.")] = False,
    web: Annotated[str, typer.Option(metavar="HOST", help="Where the page answers.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The page's port; 0 takes a free one.")] = 8421,
    no_web: Annotated[bool, typer.Option("--no-web", help="No page.")] = False,
    token: Annotated[str | None, typer.Option(help="What a browser must show; made up where one is needed.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Open the page in a browser.")] = False,
    keys: KeysOption = None,
    allow: AllowOption = None,
    server: ServerOption = None,
    insecure: InsecureOption = False,
    runtime: RuntimeOption = Settings.runtime,
    short_side: Annotated[int, typer.Option(help="Working size, 32 to 512.")] = Settings.short_side,
    steady: Steady = Settings.steady,
    saturation: Saturation = Settings.saturation,
    threads: Threads = Settings.threads,
    json: Json = False,
) -> int:
    """Colours a camera, a stream or a film while it runs, and shows it in a browser."""
    from stream import show

    if list_cameras:
        return _list_cameras(json)
    settings = check_settings(
        runtime=runtime,
        short_side=short_side,
        strength=strength,
        steady=steady,
        saturation=saturation,
        threads=threads,
    )
    context.obj.stop.check()
    security = Security(own=keys, peers=allow, insecure=insecure)
    sockets = publish is not None or control is not None or (source is not None and source.startswith("zmq+"))
    if (keys or allow or server) and not sockets:
        raise UsageError(
            "--keys, --allow and --server protect ZeroMQ's sockets, and there is none; add --publish, --control or a "
            "zmq+ source, or leave them out"
        )
    plan = show.Plan(
        source=show.find_source(
            source,
            camera=camera,
            size=_size(size),
            realtime=realtime,
            security=_source_security(source, security, server),
        ),
        settings=settings,
        look=style,
        outs=tuple(out or ()),
        overwrite=overwrite,
        publish=None if publish is None else resolve(publish, trusted=security.trusted),
        control=None if control is None else resolve(control, trusted=security.trusted, private=True),
        virtual_camera=virtual_camera,
        y4m=y4m,
        web=None if no_web else (web, port, token),
        security=security,
    )

    def started(address: str | None) -> None:
        if address is not None:
            typer.echo(f"kinochrome: watch at {address}", err=True)
            if view:
                webbrowser.open(address)

    stop = context.obj.stop
    stop.defer()
    report = show.run(
        plan, check=stop.check, started=started, tell=lambda line: typer.echo(f"kinochrome: {line}", err=True)
    )
    for line in [dumps(report.as_dict())] if json else report.lines():
        typer.echo(line, err=y4m)
    return report.exit_code


@app.command()
def watch(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="What --publish was given.")],
    topic: Annotated[str | None, typer.Option(help="frame or jpeg; jpeg with keys.")] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="OUT", help="y4m of the pictures, or a .jpg.")] = None,
    view: Annotated[bool, typer.Option("--view", help="Show it on a page in a browser.")] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Leave after so many pictures.")] = None,
    keys: KeysOption = None,
    server: ServerOption = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace OUT if it exists.")] = False,
    json: Json = False,
) -> int:
    """Subscribes to a stream: frames a second, latency, losses."""
    from stream import spectator

    where: Endpoint = resolve(endpoint, connect=True)
    security = Security(own=keys, peers=server)
    if topic not in (None, "frame", "jpeg"):
        raise UsageError(f"topic {topic!r}; frame or jpeg is allowed")
    visit = spectator.Visit(
        endpoint=where, security=security, topic=topic, save=save, view=view, count=count, overwrite=overwrite
    )
    stop = context.obj.stop
    stop.defer()
    account = spectator.Account(endpoint=str(where))
    with suppress(Interrupted):  # watching ends with Ctrl-C; the account is what was asked for
        spectator.watch(visit, account, check=stop.check, tell=lambda line: typer.echo(line, err=True))
    for line in [dumps(account.as_dict())] if json else account.lines():
        typer.echo(line)
    return EXIT_DAMAGED if account.lost else EXIT_DONE


@app.command("keys")
def make_keys(
    name: Annotated[str, typer.Argument(help="Whose: letters, digits, - and _.")],
    folder: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where to.")] = Path(),
) -> int:
    """Makes a pair of CURVE keys: NAME.key to hand out, NAME.key_secret to keep."""
    from stream.pubsub import new_pair

    public, secret = write_keys(name, folder, new_pair)
    typer.echo(f"{public}: hand it out; {secret}: keep it, it is for you alone")
    return EXIT_DONE


def _source_security(source: str | None, security: Security, server: Path | None) -> Security:
    """The keys towards a source; without the publisher's a link would be plain although keys were given.

    Within the machine (ipc) it may be: there --allow says that the keys are for those who connect to us.
    """
    inside = source is None or not source.startswith(("zmq+tcp:", "zmq+push+tcp:"))
    ours = source is None or not source.startswith("zmq+") or (inside and security.peers is not None)
    if security.own is not None and server is None and not ours:
        raise UsageError(f"{source}: with --keys it needs the publisher's public key too (--server NAME.key)")
    return Security(own=server and security.own, peers=server)


def _list_cameras(json: bool) -> int:
    from stream.capture import list_cameras

    cameras = [{"camera": name, "description": text} for name, text in list_cameras()]
    if json:
        typer.echo(dumps({"cameras": cameras}))
    for camera in [] if json else cameras:
        typer.echo(f"--camera {camera['camera']}: {camera['description']}")
    if not cameras and not json:
        typer.echo("no camera was found; kinochrome doctor says more")
    return EXIT_DONE


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise UsageError(f"--size {text!r}; WIDTHxHEIGHT is needed, e.g. 640x480")
    return int(found[1]), int(found[2])
