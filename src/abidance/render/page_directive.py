# SPDX-License-Identifier: BSD-2-Clause
"""The extension of Sphinx that puts the pages in: ``.. abidance:: group-mmu``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from abidance.render import page_about, page_lists
from abidance.render.book import Book, group_page
from abidance.render.page_group import group_nodes

__all__ = ["PageDirective", "setup"]


class PageDirective(SphinxDirective):
    """The whole page that the argument names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The section that is the page."""
        return [_page(self.config.abidance_book, self.arguments[0])]


def _page(book: Book, name: str) -> nodes.section:
    for group in book.spec.groups:
        if name == group_page(group.name):
            return group_nodes(book, group)
    if name == "trace":
        assert book.trace is not None
        return page_about.trace(book, book.trace)
    makers = {"index": page_about.front, "evidence": page_about.evidence, "classes": page_about.classes,
              "profile": page_about.profile, "calls-by-number": page_lists.by_number,
              "calls-by-name": page_lists.by_name, "all-clauses": page_lists.clauses}
    return makers[name](book)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_config_value("abidance_book", None, "", Book)
    app.add_directive("abidance", PageDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
