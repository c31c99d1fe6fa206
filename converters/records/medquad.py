"""MedQuAD: the XML files of the public repository -> records.

Source:
    github.com/abachaa/MedQuAD; Ben Abacha and Demner-Fushman, BMC Bioinformatics 20:511, 2019.
    `Document@id` > `Focus`, `QAPairs` > `QAPair@pid` > `Question@qid,@qtype` and `Answer`. Three
    collections come without answers, for copyright reasons. One file of 9_CDC_QA calls its root `DiseaseFile`:
    what counts is the pairs, whatever stands around them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from converters.records.record import Dropped, Record

NO_ANSWER = "no answer"
NO_QUESTION = "no question"
OLDER_FORM = "older form <doc>, which has no Document, QAPair and Question"


class DamagedXmlError(ValueError):
    """An XML file that cannot be read as a MedQuAD document; the message says why."""


class NoPairsError(ValueError):
    """Whole XML without a single `QAPair`: nothing is wrong with the file, and it gives no record."""


class OlderFormError(ValueError):
    """A document written as `doc` > `pair`, as four files of 6_NINDS_QA are.

    The published counts of answered pairs leave these out, and so do we.
    """

    def __init__(self, pairs: int) -> None:
        super().__init__(OLDER_FORM)
        self.pairs = pairs


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
    """Return the pairs of one XML file, in its order.

    The reader is hardened: a file that declares a document type or an entity is refused unread, so
    that no entity is expanded and nothing outside the file is opened.

    Raises:
        DamagedXmlError: cut off, not XML, or a forbidden declaration.
        OlderFormError: a `doc`, the form of four old files.
        NoPairsError: whole, but without a pair.
    """
    try:
        root = fromstring(xml, forbid_dtd=True)
    except ParseError as error:
        raise DamagedXmlError(f"is not whole XML: {error}") from error
    except DefusedXmlException as error:
        raise DamagedXmlError(
            f"declares a document type or entity, which is refused ({type(error).__name__})"
        ) from error
    except (ValueError, LookupError) as error:  # an encoding that expat or Python does not know
        raise DamagedXmlError(f"cannot be decoded: {error}") from error
    if root.tag == "doc":
        raise OlderFormError(len(root.findall("./qaPairs/pair")))
    elements = root.findall(".//QAPairs/QAPair")
    if not elements:
        raise NoPairsError(f"<{root.tag:.40}> without a QAPair below QAPairs")
    document = (root.get("id") or "").strip() or file
    focus = one_line(_text(root.find(".//Focus")))
    pairs: list[Pair] = []
    taken: set[str] = set()
    for number, pair in enumerate(elements, start=1):
        question, answer = pair.find("Question"), pair.find("Answer")
        qid = ("" if question is None else question.get("qid") or "").strip() or f"{document}-{number}"
        if qid in taken:
            qid = f"{qid}#{number}"
        taken.add(qid)
        pairs.append(
            Pair(collection, file, document, qid, focus, one_line(_text(question)), paragraphs(_text(answer)))
        )
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
