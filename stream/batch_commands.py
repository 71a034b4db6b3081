"""The command `batch`. The others are in stream/commands.py."""

import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import TaskProgressColumn

from stream.commands import app, as_rate, working_on
from stream.config import NATURAL, STYLE_SIDE, Settings
from stream.errors import Interrupted, UsageError, plain
from stream.options import (
    ClusterOption,
    Codec,
    Deinterlace,
    Detail,
    Fresh,
    Json,
    LumaOption,
    Mixed,
    NoProgress,
    Rate,
    RuntimeOption,
    Saturation,
    Steady,
    Strength,
    Strict,
    Threads,
)
from stream.stop import Stop
from stream.terminal import Bar

if TYPE_CHECKING:  # PyAV behind them would delay every command
    from stream.batch import Batch
    from stream.drop import DropFolder

_POLL_S = 2.0


@app.command()
def batch(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER|LIST.txt", help="A folder, with all in it, or a list.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the results go.")],
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="Names to take, such as '*.mov'; repeatable.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with what comes into the folder, until Ctrl-C.")
    ] = False,
    style: Annotated[str | None, typer.Option("--style", help="Paint in this style: a look or a picture.")] = None,
    strength: Strength = Settings.strength,
    detail: Detail = Settings.detail,
    codec: Codec = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Make again what was made otherwise.")] = False,
    strict: Strict = False,
    luma: LumaOption = None,
    deinterlace: Deinterlace = False,
    rate: Rate = None,
    runtime: RuntimeOption = Settings.runtime,
    short_side: Annotated[int | None, typer.Option(help="Working size: short side, 32 to 512 pixels.")] = None,
    steady: Steady = Settings.steady,
    saturation: Saturation = Settings.saturation,
    threads: Threads = Settings.threads,
    fresh: Fresh = False,
    cluster: ClusterOption = None,
    allow_mixed: Mixed = False,
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """Colourises all films of a folder or a list, skips what is done, and writes a report (batch.html, batch.json)."""
    style = None if style == NATURAL else style
    try:
        settings = Settings(
            style=style,
            strength=strength,
            detail=detail,
            runtime=runtime,
            short_side=short_side or (STYLE_SIDE if style else Settings.short_side),
            steady=steady,
            saturation=saturation,
            threads=threads,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    from stream import shelf
    from stream.batch import Batch
    from stream.colorize import Job
    from stream.drop import DropFolder

    if watch and not source.is_dir():
        raise UsageError(f"{source}: --watch needs a folder")
    stop: Stop = context.obj.stop
    stop.check()
    job = Job(
        codec=codec,
        strict=strict,
        luma=luma,
        rate=as_rate(rate),
        deinterlace=deinterlace,
        fresh=fresh,
        mixed=allow_mixed,
        overwrite=overwrite,
    )
    with ExitStack() as stack:
        stack.enter_context(shelf.claim_out(out))
        job = replace(job, cluster=stack.enter_context(working_on(cluster, runtime)))
        bar = stack.enter_context(_Bar("", stop, hidden=no_progress))
        how: dict[str, Any] = {"patterns": pattern or (), "joined": codec is not None, "tell": bar.tell}
        work = Batch(settings, job, out, tell=bar.tell, progress=bar.share)
        if watch:
            _watch(DropFolder(source, out, **how), work, stop)
        else:
            work.work(shelf.find_tasks(source, out, **how))
    summary = work.summary
    report = [f"report: {out / 'batch.html'}"] if work.unsaved is None else []
    for line in [dumps(summary.as_dict())] if json else [*summary.lines(), *report]:
        typer.echo(plain(line))
    if work.unsaved is not None:
        raise work.unsaved
    return summary.exit_code


def _watch(folder: "DropFolder", work: "Batch", stop: Stop) -> None:
    """Until a signal comes."""
    stop.defer()
    try:
        with suppress(Interrupted):  # watching ends with Ctrl-C; what was in the middle goes on the next time
            while True:
                work.work(folder.ripe(time.monotonic()), more=True)
                stop.check()
                time.sleep(_POLL_S)
    finally:
        work.draw()


class _Bar(Bar):
    """Overall progress."""

    _amount = TaskProgressColumn

    def share(self, done: float, name: str) -> None:
        """The share of all bytes that is done, and the film at work."""
        self._draw(done, 1.0, name)
