"""The page on a batch, for a browser: one file that needs no other, with a picture before and after of every film."""

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from stream.part import finish_part
from stream.summary import Row, Summary

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}
body{color:#1c1c1c;background:#fafafa}
h1{font-size:1.4rem;margin:0 0 .3rem}.counts{color:#555;margin:0 0 1.5rem}
article{display:grid;grid-template-columns:minmax(0,23rem) 1fr;gap:1rem;background:#fff;border:1px solid #ddd;
border-left:5px solid #4a8f5a;border-radius:4px;padding:.8rem;margin:0 0 .8rem}
article.damaged{border-left-color:#c98a1b}article.failed{border-left-color:#b3382c}article.skipped{border-left-color:#999}
.pair{display:flex;gap:2px}.pair img{width:50%;min-width:0;object-fit:contain;display:block}
.none{color:#999;align-self:center;justify-self:center}h2{font-size:1rem;margin:0;overflow-wrap:anywhere}
p{margin:.2rem 0;overflow-wrap:anywhere}.status{font-weight:600}ul{margin:.2rem 0;padding-left:1.2rem}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}article{background:#202020;border-color:#383838}
.counts{color:#999}}@media(max-width:44rem){article{grid-template-columns:1fr}}
"""
Pictures = Mapping[str, tuple[bytes, bytes]]
"""JPEGs before and after, by the target's path."""


def write_page(summary: Summary, pictures: Pictures, path: Path) -> None:
    """Writes the page whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(draw_page(summary, pictures), "utf-8", "backslashreplace")
    finish_part(part, path)


def draw_page(summary: Summary, pictures: Pictures) -> str:
    """The page's text."""
    counts = ", ".join(f"{count} {name}" for name, count in summary.counts().items())
    # What went wrong comes first: it is what somebody must look at.
    order = {"failed": 0, "damaged": 1, "done": 2, "skipped": 3}
    rows = sorted(summary.rows, key=lambda row: order[row.status])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Kinochrome batch</title><style>{_STYLE}</style><h1>Kinochrome batch</h1>"
        f'<p class="counts">{escape(counts)}; {summary.seconds:.0f} s. The colours are machine-made.</p>'
        + "".join(_article(row, pictures.get(row.target)) for row in rows)
        + "</html>\n"
    )


def _article(row: Row, pair: tuple[bytes, bytes] | None) -> str:
    report = row.report
    facts = []
    if report:
        lost = {name: report[name] for name in ("frames_damaged", "frames_lost", "packets_damaged") if report[name]}
        facts.append(f"{report['frames_out']} of {report['frames_in']} frames, {report['fps']:g} fps")
        facts += [f"{name.replace('_', ' ')}: {count}" for name, count in lost.items()]
        facts.append(f"{row.seconds:.1f} s, {report['runtime']}" if row.seconds else report["runtime"])
    warnings = "".join(f"<li>{escape(notice)}</li>" for notice in report.get("notices", ()))
    return (
        f'<article class="{row.status}">{_pair(pair)}<div><h2>{escape(row.source)}</h2>'
        f'<p><span class="status">{row.status}</span>{escape(": " + row.reason) if row.reason else ""}</p>'
        + "".join(f"<p>{escape(fact)}</p>" for fact in facts)
        + (f"<ul>{warnings}</ul>" if warnings else "")
        + "</div></article>"
    )


def _pair(pair: tuple[bytes, bytes] | None) -> str:
    if pair is None:
        return '<div class="none">no picture</div>'
    images = (
        f'<img alt="{name}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for name, data in zip(("before", "after"), pair, strict=True)
    )
    return f'<div class="pair">{"".join(images)}</div>'
