# SPDX-License-Identifier: BSD-2-Clause
"""Pieces of pages as docutils nodes: text with links, tables, badges, sections with anchors of our choice.

Text goes into nodes as it is, never through a markup language: nothing in it can be taken for markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from docutils import nodes

from abidance.render.book import Book

__all__ = ["badge", "bullets", "code", "commas", "fields", "link", "paragraphs", "plain", "raw", "section",
           "table", "text"]


def section(anchor: str, title: str, *classes: str) -> nodes.section:
    """A section with that anchor."""
    made = nodes.section(ids=[anchor], names=[nodes.fully_normalize_name(title)], classes=list(classes))
    made += nodes.title(title, title)
    return made


def link(address: str, content: str | nodes.Node, *classes: str) -> nodes.reference:
    """A link within the site."""
    made = nodes.reference("", "", internal=True, refuri=address, classes=list(classes))
    made += nodes.Text(content) if isinstance(content, str) else content
    return made


def code(content: str) -> nodes.literal:
    """Words of a machine."""
    return nodes.literal(content, content)


def badge(content: str, *classes: str) -> nodes.inline:
    """A word in a coloured box."""
    return nodes.inline(content, content, classes=["badge", *classes])


def plain(content: str) -> nodes.paragraph:
    """A paragraph without links."""
    return nodes.paragraph(content, content)


def raw(html: str) -> nodes.raw:
    """HTML of our own making."""
    return nodes.raw("", html, format="html")


def text(book: Book, content: str, here: str = "") -> list[nodes.Node]:
    """`content` with links on the names in it; `here` is the name that the page is about just now."""
    found: list[nodes.Node] = []
    at = 0
    for match in book.names.finditer(content):
        address = book.link(match[0])
        if address is None or match[0].rpartition("_")[2] == here:
            continue
        found += [nodes.Text(content[at:match.start()]), link(address, match[0], "name")]
        at = match.end()
    return [*found, nodes.Text(content[at:])]


def paragraphs(book: Book, content: str, here: str = "") -> list[nodes.Node]:
    """The paragraphs of `content`, names linked."""
    return [nodes.paragraph("", "", *text(book, part, here)) for part in content.split("\n\n")]


def _cell(content: object) -> list[nodes.Node]:
    if isinstance(content, str):
        return [nodes.Text(content)]
    if isinstance(content, list):
        return list(content)
    assert isinstance(content, nodes.Node)
    return [content]


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *classes: str) -> nodes.table:
    """A table; a cell is text, an inline node, or a list of inline nodes."""
    made = nodes.table(classes=["colwidths-auto", *classes])
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", nodes.row("", *(nodes.entry("", plain(word)) for word in head)))
    body = nodes.tbody()
    for row in rows:
        line = nodes.row()
        line += [nodes.entry("", nodes.paragraph("", "", *_cell(cell))) for cell in row]
        body += line
    group += body
    made += group
    return made


def fields(rows: Iterable[tuple[str, object]]) -> nodes.field_list:
    """Names and what they stand for; rows without content are left out."""
    made = nodes.field_list()
    for name, content in rows:
        cell = _cell(content)
        if cell and any(node.astext() for node in cell):
            made += nodes.field("", nodes.field_name(name, name),
                                nodes.field_body("", nodes.paragraph("", "", *cell)))
    return made


def bullets(items: Iterable[list[nodes.Node]]) -> nodes.bullet_list:
    """A list of paragraphs."""
    return nodes.bullet_list("", *(nodes.list_item("", nodes.paragraph("", "", *item)) for item in items))


def commas(items: Iterable[nodes.Node]) -> list[nodes.Node]:
    """`items` with commas between them."""
    found: list[nodes.Node] = []
    for item in items:
        found += [nodes.Text(", "), item] if found else [item]
    return found
