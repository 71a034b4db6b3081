"""The command `shots`: what a restorer corrects a film's colours by. The others are in stream/commands.py."""

from pathlib import Path
from typing import Annotated

import typer

from stream.commands import app, as_rate
from stream.config import Settings
from stream.errors import EXIT_DONE, UsageError
from stream.options import Deinterlace, Json, LumaOption, NoProgress, Overwrite, Rate
from stream.terminal import Bar, show


@app.command()
def shots(
    context: typer.Context,
    film: Annotated[str, typer.Argument(metavar="FILM", show_default=False, help="The film.")],
    toml: Annotated[
        Path | None, typer.Option("--toml", metavar="OUT", help="Write the list, for colorize --shots.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="OUT", help="Draw one picture of each shot as it will look, as PNG."),
    ] = None,
    use: Annotated[
        Path | None, typer.Option("--shots", metavar="IN", help="A list to take the shots from; else they are found.")
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", help="The look that the sheet shows where the list has none.")
    ] = None,
    saturation: Annotated[float, typer.Option("--saturation", help="Factor on the sheet's colours, 0 to 2.")] = 1.0,
    luma: LumaOption = None,
    deinterlace: Deinterlace = False,
    rate: Rate = None,
    overwrite: Overwrite = False,
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """Finds a film's shots; writes them as a list to be corrected, and draws them."""
    from stream.breakdown import Wanted, break_down

    try:
        settings = Settings(style=style, saturation=saturation, steady=0.0, batch=1, runtime="torch")
    except ValueError as error:
        raise UsageError(str(error)) from error
    wanted = Wanted(
        toml=toml,
        sheet=sheet,
        use=use,
        luma=luma,
        deinterlace=deinterlace,
        rate=as_rate(rate),
        overwrite=overwrite,
    )
    context.obj.stop.check()
    with Bar(Path(film).name, context.obj.stop, hidden=no_progress) as bar:
        found = break_down(film, wanted, settings, progress=bar.update)
    show(found, json)
    return EXIT_DONE
