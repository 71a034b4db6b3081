"""The commands of the engine cache: `compile` builds engines ahead, `cache list|verify|prune` looks after them."""

from collections.abc import Iterable
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from stream.commands import app, check_settings
from stream.config import STYLE_SIDE, Settings
from stream.errors import EXIT_DAMAGED, EXIT_DONE, UsageError
from stream.options import Json, NoProgress, RuntimeOption, Threads

if TYPE_CHECKING:
    from stream.cache import Entry

shelf = typer.Typer(help="Looks after the engines that were built for this machine.", no_args_is_help=True)
app.add_typer(shelf, name="cache")
LiveOption = Annotated[bool, typer.Option("--live", help="For live, which takes its pictures one by one.")]
GraphsOption = Annotated[bool, typer.Option("--style", help="The graph that paints in styles as well.")]


@app.command("compile")
def compile_engines(
    context: typer.Context,
    source: Annotated[
        str | None, typer.Argument(metavar="IN", show_default=False, help="A film, for pictures of its shape.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Or the films' size, such as 1920x1080; repeat for more with ,")
    ] = None,
    style: GraphsOption = False,
    live: LiveOption = False,
    runtime: RuntimeOption = Settings.runtime,
    short_side: Annotated[
        int | None, typer.Option(help=f"Working size, 32 to 512; {Settings.short_side}, with --style {STYLE_SIDE}.")
    ] = None,
    threads: Threads = Settings.threads,
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """Builds and checks the engines for a film or a size, so that the first film starts at once."""
    side = (STYLE_SIDE if style and not live else Settings.short_side) if short_side is None else short_side
    pace = {"lag": 0, "batch": 1} if live else {}  # as stream/live.py opens them
    settings = check_settings(runtime=runtime, short_side=side, threads=threads, **pace)
    sizes = _working_sizes(source, size, side)
    from stream.runtime import open_runtime

    rows = []
    with _bar(hidden=no_progress) as bar:
        for shape in sizes:
            context.obj.stop.check()
            task = bar.add_task(f"{shape[0]}x{shape[1]}: building, then checking on golden frames", total=None)
            choice = open_runtime(settings, shape, styled=style)
            bar.remove_task(task)
            rows.append(
                {
                    "working_size": shape,
                    "runtime": choice.runtime.name,
                    "reason": choice.reason,
                    "notices": list(choice.notices),
                }
            )
            if not json:
                for line in (f"{shape[0]}x{shape[1]}: {choice.runtime.name} ({choice.reason})", *choice.notices):
                    typer.echo(line)
    if json:
        typer.echo(dumps({"engines": rows}))
    return EXIT_DONE


def _working_sizes(source: str | None, size: str | None, side: int) -> list[tuple[int, int]]:
    """The padded working sizes of what was named."""
    if (source is None) == (size is None):
        raise UsageError("name a film, or its size: kinochrome compile IN, or kinochrome compile --size 1920x1080")
    from stream.geometry import Geometry

    if source is not None:
        from stream.media import probe

        info = probe(source)
        made = Geometry.of(
            info.width, info.height, short_side=side, pixel_aspect=info.pixel_aspect, rotation=info.rotation
        )
        return [made.padded]
    found = []
    for words in (size or "").split(","):
        width, _, height = words.strip().partition("x")
        if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
            raise UsageError(f"--size {size!r}; WIDTHxHEIGHT is allowed, such as 1920x1080, or several with commas")
        found.append(Geometry.of(int(width), int(height), short_side=side).padded)
    return list(dict.fromkeys(found))


def _bar(*, hidden: bool) -> Progress:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=hidden or not console.is_terminal, transient=True)


@shelf.command("list")
def list_engines(json: Json = False) -> int:
    """Lists the engines, the one last used first."""
    from stream import cache

    _show("engines", cache.entries(check=False), json)
    return EXIT_DONE


@shelf.command("verify")
def verify_engines(json: Json = False) -> int:
    """Compares every file with its checksum; exit code 5 where one differs."""
    from stream import cache

    found = cache.entries()
    _show("engines", found, json)
    return EXIT_DAMAGED if any(entry.state in ("damaged", "unfinished") for entry in found) else EXIT_DONE


@shelf.command("prune")
def prune_engines(
    most_mb: Annotated[
        float | None, typer.Option("--max-mb", min=0, help="What may stay, last used first; 0 removes all.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what is damaged, refused or unfinished.")] = False,
    json: Json = False,
) -> int:
    """Removes engines: those unused for longest, or those that are no good. They are built again when needed."""
    if most_mb is None and not damaged:
        raise UsageError("say what may go: --max-mb MB, --damaged, or both")
    from stream import cache

    _show("removed", cache.prune(float("inf") if most_mb is None else most_mb, damaged=damaged), json)
    return EXIT_DONE


def _show(name: str, found: "Iterable[Entry]", json: bool) -> None:
    rows = list(found)
    if json:
        typer.echo(dumps({name: [entry.as_dict() for entry in rows]}))
        return
    for entry in rows:
        words = " ".join(entry.facts) or Path(entry.folder).name
        detail = f": {entry.detail}" if entry.detail else ""
        typer.echo(f"{entry.state:10} {entry.mb:7.1f} MB  {words}  {entry.folder}{detail}")
    if not rows:
        typer.echo("no engines" if name == "engines" else "nothing to remove")
