"""Draws lines, bars and labels as SVG that can be read on a light and on a dark screen, and loads nothing from anywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from xml.sax.saxutils import escape

STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #1f2328 }
.paper { fill: #ffffff } .title { font-size: 16px; font-weight: 600 } .quiet { fill: #59636e; font-size: 11.5px }
.grid { stroke: #d1d9e0 } .axis { stroke: #59636e } .target { stroke: #1f2328; stroke-width: 2.5 }
.spread { stroke: #1f2328; stroke-width: 1.2 } .band { fill: #eaeef2 }
.first { fill: #1f6feb } .second { fill: #d9822b }
path.first, path.second { fill: none; stroke-width: 2 } path.first { stroke: #1f6feb } path.second { stroke: #d9822b }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .paper { fill: #0d1117 } .quiet { fill: #9198a1 }
.grid { stroke: #2f353d } .axis { stroke: #9198a1 } .target, .spread { stroke: #e6edf3 } .band { fill: #1c2128 }
.first { fill: #58a6ff } .second { fill: #f0a35e } path.first { fill: none; stroke: #58a6ff } path.second { fill: none; stroke: #f0a35e }
}
"""

Scale = Callable[[float], float]
"""Where a value is, in pixels."""


class Picture:
    """A picture that grows piece by piece. Lengths are pixels, the origin is the upper left corner."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}" rx="6"/>',
        )
        self._pieces: list[str] = []
        self.text(20, 30, title, "title")

    def text(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        """Write `text`; `anchor` is `start`, `middle` or `end`: which part of it is at `x`."""
        self._pieces.append(f'<text x="{_n(x)}" y="{_n(y)}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>')

    def turned(self, x: float, y: float, text: str) -> None:
        """Write `text` upwards, with its middle at this point."""
        place = f'text-anchor="middle" transform="translate({_n(x)} {_n(y)}) rotate(-90)"'
        self._pieces.append(f'<text class="quiet" {place}>{escape(text)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """A straight line."""
        self._pieces.append(f'<line class="{style}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>')

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """A filled rectangle."""
        self._pieces.append(f'<rect class="{style}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"/>')

    def curve(self, points: Iterable[tuple[float, float]], style: str) -> None:
        """A line through points."""
        path = " ".join(f"{'M' if place == 0 else 'L'}{_n(x)} {_n(y)}" for place, (x, y) in enumerate(points))
        self._pieces.append(f'<path class="{style}" d="{path}"/>')

    def key(self, x: float, y: float, entries: Iterable[tuple[str, str]]) -> None:
        """What the colours mean: style and words of each."""
        for style, words in entries:
            if style in ("target", "spread"):
                self.line(x + 6, y - 10, x + 6, y + 1, style)
            else:
                self.box(x, y - 9, 12, 9, style)
            self.text(x + 18, y, words, "quiet")
            x += 36 + 6.1 * len(words)

    def svg(self) -> str:
        """The whole picture."""
        return "\n".join([*self._head, *self._pieces, "</svg>"]) + "\n"


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """A scale on which equal differences are equally long; what is beyond its ends is drawn there."""
    return lambda value: start + (min(max(value, low), high) - low) / (high - low) * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """A scale on which equal factors are equally long; what is beyond its ends is drawn there."""
    place = linear(math.log(low), math.log(high), start, end)
    return lambda value: place(math.log(max(low, value)))


def steps(high: float, most: int = 6) -> Sequence[float]:
    """Round numbers from 0 to `high` or a little more, at most so many and one."""
    rough = high / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999999)
    return [number * step for number in range(math.ceil(high / step - 1e-9) + 1)]


def _n(value: float) -> str:
    """A length with the digits that can be seen."""
    return f"{value:.1f}".removesuffix(".0")
