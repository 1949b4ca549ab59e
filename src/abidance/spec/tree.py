# SPDX-License-Identifier: BSD-2-Clause
"""YAML text as a tree of nodes that know where they stand.

The tree is built from ruamel's parser events, before any implicit typing: every scalar stays
text, and `shape` gives it the type that its key asks for. So ``yes``, ``on`` and ``1e3`` are never
anything but text unless the schema says otherwise, which is what YAML 1.2 means for them.

Left out of the language on purpose, each with an error of its own: anchors and aliases (one can
say in ten lines what expands to gigabytes), tags, several documents, duplicate keys, keys that are
not plain words. Files are at most `MAX_BYTES` long and `MAX_DEPTH` deep.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from abidance.errors import InputError, Place, SpecError
from abidance.spec.problems import Path, dotted

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Node", "parse_tree", "read_tree"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32


@dataclass(slots=True)
class Node:
    """One node. Exactly one of `text`, `items`, `members` is not None.

    `plain` is true for a scalar without quotes that is not a block; `keys` has the place of each key.
    """

    place: Place
    text: str | None = None
    plain: bool = False
    quoted: bool = False
    items: list[Node] | None = None
    members: dict[str, Node] | None = None
    keys: dict[str, Place] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What this node is, in the words of an error message."""
        if self.members is not None:
            return "a mapping"
        return "a list" if self.items is not None else "a single value"

    def find(self, path: Path) -> Place:
        """The place of the key or item at `path`, or of its nearest ancestor that exists."""
        node, place = self, self.place
        for step in path:
            if isinstance(step, int):
                if node.items is None or step >= len(node.items):
                    break
                node = node.items[step]
                place = node.place
            else:
                if node.members is None or step not in node.members:
                    break
                place = node.keys[step]
                node = node.members[step]
        return place

    def value_at(self, path: Path) -> Node | None:
        """The node at `path`, or None."""
        node: Node | None = self
        for step in path:
            if node is None:
                return None
            if isinstance(step, int):
                node = node.items[step] if node.items is not None and step < len(node.items) else None
            else:
                node = node.members.get(step) if node.members is not None else None
        return node


class _Builder:
    """Turns the events of one document into nodes without recursion."""

    def __init__(self, file: str, kind: type[InputError]) -> None:
        self.file, self.kind = file, kind
        self.root: Node | None = None
        self.documents = 0
        self.stack: list[Node] = []
        self.pending: list[tuple[str, Place] | None] = []
        self.path: list[str | int] = []

    def fail(self, place: Place, problem: str, mend: str) -> NoReturn:
        raise self.kind(place, dotted(tuple(self.path)), problem, mend=mend)

    def feed(self, event: Any) -> None:
        place = Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.fail(place, "a second document starts here", "keep one document in one file")
        elif isinstance(event, AliasEvent):
            self.fail(place, f"alias *{event.anchor}", "write the value out; the language has no aliases")
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            self.stack.pop()
            self.pending.pop()
            if self.path:
                self.path.pop()
        elif isinstance(event, (ScalarEvent, MappingStartEvent, SequenceStartEvent)):
            self.check_properties(event, place)
            self.add(event, place)

    def check_properties(self, event: Any, place: Place) -> None:
        if event.anchor is not None:
            self.fail(place, f"anchor &{event.anchor}", "write the value out; the language has no anchors")
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.fail(place, f"tag {tag}", "leave the tag out; the schema gives each key its type")

    def add(self, event: Any, place: Place) -> None:
        if self.stack and self.stack[-1].members is not None and self.pending[-1] is None:
            self.take_key(event, place)
            return
        if isinstance(event, ScalarEvent):
            plain = event.style is None
            node = Node(place, text=event.value, plain=plain, quoted=event.style in ("'", '"'))
        elif isinstance(event, MappingStartEvent):
            node = Node(place, members={})
        else:
            node = Node(place, items=[])
        self.attach(node)
        if node.text is None:
            if len(self.stack) >= MAX_DEPTH:
                self.fail(place, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
            self.stack.append(node)
            self.pending.append(None)
        elif self.path:
            self.path.pop()

    def take_key(self, event: Any, place: Place) -> None:
        if not isinstance(event, ScalarEvent):
            self.fail(place, "a key must be a word", "write key: value")
        parent = self.stack[-1]
        name: str = event.value
        if name in parent.keys:
            first = parent.keys[name]
            self.path.append(name)
            self.fail(place, "duplicate key", f"remove one; the first is in line {first.line}")
        if name == "<<" and event.style is None:
            self.fail(place, "merge key <<", "write the keys out; the language has no merging")
        self.pending[-1] = (name, place)
        parent.keys[name] = place
        self.path.append(name)

    def attach(self, node: Node) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if parent.items is not None:
            self.path.append(len(parent.items))
            parent.items.append(node)
            return
        key = self.pending[-1]
        assert parent.members is not None
        assert key is not None
        parent.members[key[0]] = node
        self.pending[-1] = None


def _events(text: str) -> Iterator[Any]:
    reader: Any = YAML(typ="safe", pure=True)
    yield from reader.parse(text)


def _tidy(problem: str | None) -> str:
    return " ".join((problem or "not YAML").split())


def parse_tree(text: str, file: str, kind: type[InputError] = SpecError) -> Node:
    """The tree of `text`, whose top level is a mapping.

    Raises: `kind` at the first thing that is not YAML or not in the language.
    """
    builder = _Builder(file, kind)
    start = Place(file, 1, 1)
    try:
        for event in _events(text):
            builder.feed(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else start
        mend = "indent with spaces" if "\\t" in str(error.problem) else "mend the YAML syntax here"
        raise kind(place, "", _tidy(error.problem or error.context), mend=mend) from None
    except ReaderError as error:
        before = text[: error.position]
        place = Place(file, before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or "\0")
        raise kind(place, "", f"character U+{code:04X} is not allowed in YAML", mend="remove it") from None
    except (YAMLError, YAMLStreamError, ValueError, OverflowError) as error:
        raise kind(start, "", _tidy(str(error)), mend="mend the YAML syntax") from None
    root = builder.root
    if root is None or root.text == "":
        raise kind(start, "", "the file is empty", mend="write the mapping that this file is for")
    if root.members is None:
        raise kind(root.place, "", f"the top level is {root.kind}", mend="write key: value lines")
    return root


def read_tree(path: pathlib.Path, kind: type[InputError] = SpecError) -> Node:
    """The tree of the file at `path`.

    Raises: `kind` if the file cannot be read, is too long, not UTF-8, or not in the language.
    """
    file = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise kind(Place(file), "", f"cannot be read: {error.strerror}", mend="check the path") from None
    if len(data) > MAX_BYTES:
        raise kind(Place(file), "", f"is longer than {MAX_BYTES} bytes", mend="split it into groups")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(file, before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1)
        problem = f"byte {data[error.start]:#04x} is not UTF-8"
        raise kind(place, "", problem, mend="save the file as UTF-8") from None
    return parse_tree(text.removeprefix("\ufeff"), file, kind)
