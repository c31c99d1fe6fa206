"""MedQuAD: the XML files of the public repository -> records.

Source:
    github.com/abachaa/MedQuAD; Ben Abacha and Demner-Fushman, BMC Bioinformatics 20:511, 2019.
    `Document@id` > `Focus`, `QAPairs` > `QAPair@pid` > `Question@qid,@qtype` and `Answer`. Three
    collections come without answers, for copyright reasons. A file of 9_CDC_QA has the root
    `DiseaseFile@fid`; four of 6_NINDS_QA are `doc@docid` > `doctitle-focus`, `qaPairs` > `pair` >
    `question` and `answer`. With these four the 47,441 pairs are the 47,457 of the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from converters.records.record import Dropped, Record

NO_ANSWER = "no answer"
NO_QUESTION = "no question"
PAIR = ("QAPair", "pair")
QUESTION = ("Question", "question")
ANSWER = ("Answer", "answer")
FOCUS = ("Focus", "doctitle-focus")
IDENTITY = ("id", "fid", "docid")


class DamagedXmlError(ValueError):
    """A file that is not whole XML, or that declares what is refused; the message says why."""


class NoPairsError(ValueError):
    """A whole XML file without a question; the message names its root."""


@dataclass(frozen=True)
class Pair:
    """One question of one document, as it stands in the file; no answer is an empty text."""

    collection: str
    file: str
    """Name of the file without `.xml`: document ids repeat within a collection, file names do not."""
    document: str
    qid: str
    focus: str
    question: str
    answer: str

    @property
    def place(self) -> str:
        """The file, relative to the root."""
        return f"{self.collection}/{self.file}.xml"

    @property
    def part(self) -> str:
        """The collection."""
        return self.collection

    @property
    def record_id(self) -> str:
        """Collection, file and question; the same in every checkout of the repository."""
        return f"{self.collection}/{self.file}/{self.qid}"


def read_document(xml: bytes, collection: str, file: str) -> tuple[Pair, ...]:
    """Return the pairs of one XML file, in its order, whatever its root is called.

    The reader is hardened: a file that declares a document type or an entity is refused unread, so
    that no entity is expanded and nothing outside the file is opened.

    Raises:
        DamagedXmlError: cut off, not XML, or a forbidden declaration.
        NoPairsError: no pair in it.
    """
    try:
        root = fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        raise DamagedXmlError(f"not whole XML: {error}") from error
    except DefusedXmlException as error:
        raise DamagedXmlError(
            f"declares a document type or entity, which is refused ({type(error).__name__})"
        ) from error
    except (ValueError, LookupError) as error:  # an encoding that expat or Python does not know
        raise DamagedXmlError(f"cannot be decoded: {error}") from error
    document = next((name for key in IDENTITY if (name := (root.get(key) or "").strip())), file)
    focus = one_line(_text(_child(root, FOCUS)))
    pairs: list[Pair] = []
    taken: set[str] = set()
    for number, pair in enumerate(_outermost(root), start=1):
        question = _child(pair, QUESTION)
        qid = ("" if question is None else question.get("qid") or "").strip() or f"{document}-{number}"
        if qid in taken:
            qid = f"{qid}#{number}"
        taken.add(qid)
        answer = paragraphs(_text(_child(pair, ANSWER)))
        pairs.append(Pair(collection, file, document, qid, focus, one_line(_text(question)), answer))
    if not pairs:
        raise NoPairsError(f"no question-answer pair below <{root.tag:.60}>")
    return tuple(pairs)


def to_record(raw: Pair) -> Record:
    """Return the record of one answered pair; its group is the document.

    Raises:
        Dropped: the question or the answer is empty.
    """
    if not raw.question:
        raise Dropped(NO_QUESTION, raw.record_id)
    if not raw.answer:
        raise Dropped(NO_ANSWER, raw.record_id)
    return {
        "id": raw.record_id,
        "messages": [
            {"role": "user", "content": raw.question},
            {"role": "assistant", "content": raw.answer},
        ],
        "group": f"{raw.collection}/{raw.document}",
        "question": raw.question,
        "focus": raw.focus or None,
        "source": "medquad",
    }


def _outermost(root: Element) -> Iterator[Element]:
    """Yield the pairs in the order of the file; what stands inside a pair is its text, however it is called."""
    pending = [root]
    while pending:
        element = pending.pop()
        if element.tag in PAIR:
            yield element
        else:
            pending += reversed(element)


def _child(element: Element, names: tuple[str, ...]) -> Element | None:
    return next((child for child in element if child.tag in names), None)


def _text(element: Element | None) -> str:
    return "" if element is None else "".join(element.itertext())


def one_line(text: str) -> str:
    r"""Return `text` with every run of white space as one space.

    >>> one_line(" What is (are)\n   Asthma ? ")
    'What is (are) Asthma ?'
    """
    return " ".join(text.split())


def paragraphs(text: str) -> str:
    r"""Return `text` without the indentation of the XML: lines stripped, at most one empty line between.

    >>> paragraphs("Key Points\n     - a   b\n   \n\n\n     More.  ")
    'Key Points\n- a b\n\nMore.'
    """
    lines = "\n".join(" ".join(line.split()) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip()
