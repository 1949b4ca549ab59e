# SPDX-License-Identifier: BSD-2-Clause
"""Drawing in SVG for a page that may be light or dark, on a screen that may be narrow.

Colours are classes that the style sheet of the site gives a value in each theme; text takes the colour of the
page. A drawing is `WIDTH` units wide, about that of a telephone, and is enlarged on wider screens.
"""

from __future__ import annotations

import textwrap
from html import escape

__all__ = ["WIDTH", "Canvas", "Label"]

WIDTH = 380
_CHAR = 6.1
"""Mean width of a character at the normal size of text."""
LINE = 15


def Label(text: str, width: float) -> list[str]:  # noqa: N802 (reads as what it makes)
    """`text` in lines that fit into `width` units."""
    return textwrap.wrap(text, max(4, int(width / _CHAR)), break_on_hyphens=False) or [""]


class Canvas:
    """Shapes in the order drawn. The height is that of the lowest shape."""

    def __init__(self, name: str, title: str, text: str) -> None:
        self.name, self.title, self.words = name, title, text
        self.parts: list[str] = []
        self.height = 0.0

    def _reach(self, y: float) -> None:
        self.height = max(self.height, y)

    def box(self, x: float, y: float, width: float, height: float, kind: str) -> None:
        """A box; `kind` is the class that colours it."""
        self._reach(y + height)
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>')

    def text(self, x: float, y: float, text: str, kind: str = "", side: str = "start") -> None:
        """A line of text whose baseline is at `y`; `side` is start, middle or end of it at `x`."""
        self._reach(y + 4)
        place = f'x="{x:g}" y="{y:g}" text-anchor="{side}"'
        self.parts.append(f'<text class="{kind}" {place}>{escape(text)}</text>')

    def lines(self, x: float, y: float, texts: list[str], kind: str = "", side: str = "start") -> float:
        """Several lines, the first at `y`; the baseline after the last."""
        for text in texts:
            self.text(x, y, text, kind, side)
            y += LINE
        return y

    def line(self, points: list[tuple[float, float]], kind: str = "line", *, arrow: bool = False) -> None:
        """A line through `points`, with an arrow head at its end if `arrow`."""
        self._reach(max(y for _, y in points))
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        head = f' marker-end="url(#{self.name}-head)"' if arrow else ""
        self.parts.append(f'<polyline class="{kind}" points="{path}"{head}/>')

    def svg(self) -> str:
        """The drawing, to stand in a page."""
        name = self.name
        head = (f'<defs><marker id="{name}-head" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" '
                'markerHeight="8" orient="auto"><path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>')
        return (f'<svg xmlns="http://www.w3.org/2000/svg" class="abi-diagram" role="img" '
                f'viewBox="0 0 {WIDTH} {self.height + 6:g}" aria-labelledby="{name}-title {name}-text">'
                f'<title id="{name}-title">{escape(self.title)}</title>'
                f'<desc id="{name}-text">{escape(self.words)}</desc>{head}{"".join(self.parts)}</svg>')
