"""The options that several commands share, with their help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.config import RuntimeName

In = Annotated[str | None, typer.Argument(metavar="IN", show_default=False, help="The film or picture.")]
InOption = Annotated[
    str | None, typer.Option("-i", "--input", metavar="IN", show_default=False, help="The same as IN.")
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="OUT", show_default=False, help="The result; else NAME-colour, beside IN."),
]
LumaOption = Annotated[
    Literal["bt601", "bt709"] | None, typer.Option("--luma", help="How Y' is made of an RGB source in colour.")
]
Codec = Annotated[
    str | None,
    typer.Option(
        "-c", "--codec", help="libx264, libx265, ffv1 (lossless: luma bit for bit), h264_nvenc or hevc_nvenc."
    ),
]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace OUT if it exists.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse an output that can't hold everything.")]
Nvdec = Annotated[bool, typer.Option("--nvdec", help="Have an NVIDIA card decode the film.")]
Deinterlace = Annotated[bool, typer.Option("--deinterlace", help="Make whole pictures of fields.")]
Rate = Annotated[
    str | None,
    typer.Option("--rate", metavar="FPS", help="Frames a second of numbered pictures: 24, 23.976, 30000/1001."),
]
RuntimeOption = Annotated[RuntimeName, typer.Option("--runtime", help="What runs the network.")]
Steady = Annotated[float, typer.Option("--steady", help="Temporal smoothing, 0 (off) to 1.")]
Saturation = Annotated[float, typer.Option("--saturation", help="Factor on the colours, 0 to 2.")]
Strength = Annotated[float, typer.Option("--strength", help="How much of the style, 0 to 1.")]
Detail = Annotated[
    float, typer.Option("--detail", help="Share of the source's fine detail that a painted picture keeps, 0 to 1.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over, and forget what an interrupted run left.")]
Mixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Let different engines, processors or GPU batches work on one film.")
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="WHERE", help="Work on a Ray cluster: local, auto, or its ADDRESS (HOST:PORT)."),
]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads of the network; 0 takes all cores.")]
PublishOption = Annotated[
    str | None,
    typer.Option(
        "--publish",
        metavar="ENDPOINT",
        help="ZeroMQ: NAME, ipc:///PATH, tcp://HOST:PORT; push+ waits for its consumer.",
    ),
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Let anybody on the network connect.")]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", metavar="FILE", help="Our secret CURVE key, NAME.key_secret.")
]
AllowOption = Annotated[
    Path | None, typer.Option("--allow", metavar="FOLDER", help="Public keys of those who may connect.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
