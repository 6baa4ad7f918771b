"""A start as a picture: SVG that stands alone and can be read on light and on dark paper.

Law: the same report gives the same bytes. Nothing is drawn that is not in it.
"""
from __future__ import annotations

from supervisor.cli.boot_chain import (
    STEPS,
    begun_ns,
    came_ns,
    chain,
    end_ns,
    origin_ns,
    skipped,
    spans,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 1200, 220, 90, 20, 64
_STYLE = """
text { font: 12px sans-serif; fill: #222 } .faint, .tick { fill: #666 } .name { text-anchor: end }
.paper { fill: #fff } .grid { stroke: #ddd } .critical { font-weight: bold }
.own { fill: #8a63d2 } .waiting { fill: #d0d0d0 } .launching { fill: #e8a33d }
.starting { fill: #3f8fd2 } .up { fill: #4caf6a; fill-opacity: .45 } .failed { fill: #d64545 }
@media (prefers-color-scheme: dark) {
text { fill: #ddd } .faint, .tick { fill: #999 } .paper { fill: #1b1b1d } .grid { stroke: #3a3a3d }
.waiting { fill: #55555a } }
"""
_PARTS = (
    ("own", "kernel and supervisor"), ("waiting", "waiting"), ("launching", "launching"),
    ("starting", "starting"), ("up", "ready"), ("failed", "failed"),
)  # fmt: skip
_LEAST = 0.8  # units of the picture: what took no time is still to be seen


def plot(report: dict[str, Any]) -> str:
    """The SVG document."""
    begin, end = origin_ns(report), end_ns(report)
    whole = max(end - begin, 1)
    scale = (_WIDTH - _LEFT - _RIGHT) / whole
    own = list(spans(report))
    first = {row["key"]: row["waiting_ns"] or begun_ns(row) for row in report["units"]}
    units = sorted(report["units"], key=lambda row: (begun_ns(row) or end, row["key"]))
    critical = {row["key"] for row, _ in chain(report["units"])}
    height = _TOP + _ROW * (len(own) + len(units)) + 30
    size, box = f'width="{_WIDTH}" height="{height}"', f"0 0 {_WIDTH} {height}"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" {size} role="img">',
        f"<title>{_title(report)}</title>", f"<style>{_STYLE}</style>",
        f'<rect class="paper" {size}/>',
        f'<text x="16" y="24">{_title(report)}</text>', *_legend(), *_grid(whole, scale, height),
    ]

    def x(when: int) -> float:
        return _LEFT + (when - begin) * scale

    def bar(kind: str, y: int, start: int, stop: int) -> str:
        width = max((stop - start) * scale, _LEAST)
        return (f'<rect class="{kind}" x="{x(start):.1f}" y="{y + 3}" width="{width:.1f}"'
                f' height="{_ROW - 6}"/>')

    y = _TOP
    for name, start, stop in own:
        out.append(_label(y, _escape(name), "name faint"))
        out.append(bar("own", y, start, stop))
        out.append(_after(x(stop), y, f"{STEPS.get(name, name)}, {(stop - start) / 1e6:.0f} ms"))
        y += _ROW
    for row in units:
        key = row["key"]
        out.append(_label(y, _escape(key), "name critical" if key in critical else "name"))
        came = came_ns(row)
        stages = [
            ("waiting", row["waiting_ns"], begun_ns(row) or end),
            ("launching", row["launching_ns"], row["starting_ns"] or came or end),
            ("starting", row["starting_ns"], came or end),
            ("up", row["up_ns"], row["ended_ns"] if row["ended_ns"] > row["up_ns"] else end),
        ]
        if skipped(row):
            del stages[1:]
        if row["failed"]:
            stages.append(("failed", row["ended_ns"], end))
        out += [bar(kind, y, start, max(stop, start)) for kind, start, stop in stages if start]
        if came and first[key]:
            words = "skipped" if skipped(row) else f"{(came - first[key]) / 1e6:.0f} ms"
            out.append(_after(x(came), y, words))
        y += _ROW
    return "\n".join([*out, "</svg>", ""])


def _title(report: dict[str, Any]) -> str:
    what = "boot" if report["machine"] else "start of the supervisor"
    said = "" if report["done_ns"] else ", which goes on"
    return f"{(end_ns(report) - origin_ns(report)) / 1e9:.3f} s: {what}{said}"


def _legend() -> list[str]:
    out = []
    for place, (kind, words) in enumerate(_PARTS):
        left = _LEFT + 160 * place
        out.append(f'<rect class="{kind}" x="{left}" y="34" width="12" height="12"/>')
        out.append(f'<text class="faint" x="{left + 18}" y="44">{words}</text>')
    return out


def _grid(whole_ns: int, scale: float, height: int) -> list[str]:
    """A line each 1, 2 or 5 times a power of ten, about ten of them."""
    step = 1
    while whole_ns / step > 12:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    out = []
    for when in range(0, whole_ns + 1, step):
        x = _LEFT + when * scale
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}"'
                   f' y2="{height - 22}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{height - 8}">{when / 1e9:g} s</text>')
    return out


def _label(y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{_LEFT - 8}" y="{y + 14}">{text}</text>'


def _after(x: float, y: int, text: str) -> str:
    """Beside a bar's end; on its other side where the paper ends."""
    anchor = ' text-anchor="end"' if x > _WIDTH - 260 else ""
    beside = x - 6 if anchor else x + 6
    return f'<text class="faint" x="{beside:.1f}" y="{y + 14}"{anchor}>{text}</text>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
