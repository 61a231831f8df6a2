"""XML that a stranger wrote, without what makes XML dangerous.

Python's expat expands entities that the document itself declares (a few hundred bytes become gigabytes) and can be told to read
other files. Both need a document type declaration, so a file that has one is refused before anything else is read.
"""

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from pipeline.core.errors import PersonError

DEEPEST = 50  # elements inside each other
MOST = 5_000_000  # elements


@dataclass
class Element:
    """One element.

    Attributes:
        name: of the tag, with its prefix.
        attributes: name -> value.
        children: elements directly inside, in order.
        text: character data directly inside, joined.
        line: of the file, counted from 1.
    """

    name: str
    attributes: dict[str, str]
    line: int
    children: list["Element"] = field(default_factory=list)
    text: str = ""

    def all(self, name: str) -> "list[Element]":
        """Children of that name."""
        return [child for child in self.children if child.name == name]

    def first(self, name: str) -> "Element | None":
        """The first child of that name, or None."""
        return next(iter(self.all(name)), None)

    def words(self, name: str) -> str:
        """Text of the first child of that name, without spaces at its ends; "" for none."""
        child = self.first(name)
        return "" if child is None else child.text.strip()


def read_xml(data: bytes, *, what: str) -> Element:
    """Parse a document; return its root.

    Args:
        data: the file.
        what: its name, for errors.

    Raises:
        PersonError: it is not well-formed, declares a document type or entities, or is too deep or too large.
    """
    tree = _Tree(what)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = tree.forbidden
    tree.parser = parser
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, PersonError):
            raise
        raise PersonError(f"{what} is not XML ({' '.join(str(error).split())[:120]}): export it again") from error
    assert tree.root is not None
    return tree.root


class _Tree:
    """Builds elements as the parser meets them."""

    def __init__(self, what: str) -> None:
        self.what, self.root, self.open, self.count = what, None, [], 0
        self.parser: Any = None

    root: Element | None
    open: list[Element]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if len(self.open) >= DEEPEST:
            raise PersonError(f"{self.what} nests more than {DEEPEST} elements: not an annotation, remove it")
        if self.count > MOST:
            raise PersonError(f"{self.what} has more than {MOST:,} elements: not an annotation, remove it")
        made = Element(name, attributes, self.parser.CurrentLineNumber)
        if self.open:
            self.open[-1].children.append(made)
        else:
            self.root = made
        self.open.append(made)

    def end(self, name: str) -> None:
        self.open.pop()

    def characters(self, text: str) -> None:
        self.open[-1].text += text

    def forbidden(self, *_: object) -> int:
        raise PersonError(f"{self.what} has a DOCTYPE, which an annotation does not need and which can hold a bomb: remove it")
