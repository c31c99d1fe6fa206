from __future__ import annotations

from pathlib import Path

import pytest

from converters.records.medquad import (
    DamagedXmlError,
    NoPairsError,
    Pair,
    read_document,
    to_record,
)
from converters.records.record import Dropped

DOCUMENT = b"""<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001_1" source="CancerGov" url="https://example.org">
 <!-- a comment -->
<Focus> Adult  Leukemia
</Focus>
<QAPairs>
 <QAPair pid="1">
  <Question qid="0000001_1-1" qtype="information">What is (are)
     Adult Leukemia ?</Question>
  <Answer>Key Points
                    - One   thing.<!-- c -->


                    - <![CDATA[p < 0.05 & more]]>
  </Answer>
 </QAPair>
 <QAPair pid="2"><Question qid="0000001_1-2" qtype="x">Who?</Question><Answer>  </Answer></QAPair>
</QAPairs></Document>"""


def read(xml: bytes) -> tuple[Pair, ...]:
    return read_document(xml, "1_CancerGov_QA", "0000001_1_a")


def test_a_pair_becomes_a_record() -> None:
    assert to_record(read(DOCUMENT)[0]) == {
        "id": "1_CancerGov_QA/0000001_1_a/0000001_1-1",
        "messages": [
            {"role": "user", "content": "What is (are) Adult Leukemia ?"},
            {"role": "assistant", "content": "Key Points\n- One thing.\n\n- p < 0.05 & more"},
        ],
        "group": "1_CancerGov_QA/0000001_1",
        "question": "What is (are) Adult Leukemia ?",
        "focus": "Adult Leukemia",
        "source": "medquad",
    }


def test_an_unanswered_pair_is_dropped_with_its_id() -> None:
    with pytest.raises(Dropped, match="no answer") as drop:
        to_record(read(DOCUMENT)[1])
    assert drop.value.record_id == "1_CancerGov_QA/0000001_1_a/0000001_1-2"


def test_a_pair_without_question_is_dropped() -> None:
    with pytest.raises(Dropped, match="no question"):
        to_record(read(DOCUMENT.replace(b"Who?", b""))[1])


def test_pairs_inside_a_pair_are_its_text() -> None:
    """4,000 of them, each in the other's answer, took 19 s: all texts were read 4,000 times."""
    depth = 4000
    xml = b"<x><QAPairs>" + b"<QAPair><Question>q</Question><Answer>a" * depth
    xml += b"</Answer></QAPair>" * depth + b"</QAPairs></x>"
    (pair,) = read(xml)
    assert (pair.question, len(pair.answer)) == ("q", 2 * depth - 1)


def test_a_question_id_that_stands_twice_still_gives_two_ids() -> None:
    pairs = read(DOCUMENT.replace(b"0000001_1-2", b"0000001_1-1"))
    assert [pair.qid for pair in pairs] == ["0000001_1-1", "0000001_1-1#2"]


@pytest.mark.parametrize("size", [0, 1, 40, 200, 500, len(DOCUMENT) - 1])
def test_a_file_that_is_cut_off_is_damaged(size: int) -> None:
    with pytest.raises(DamagedXmlError, match="not whole XML"):
        read(DOCUMENT[:size])


LAUGHS = b"""<!DOCTYPE Document [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><Document id="1"><Focus>&c;</Focus><QAPairs/></Document>"""
OUTSIDE = b"""<!DOCTYPE Document [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<Document id="1"><Focus>&a;</Focus><QAPairs/></Document>"""


@pytest.mark.parametrize("xml", [LAUGHS, OUTSIDE, b"<!DOCTYPE Document><Document><QAPairs/></Document>"])
def test_declared_entities_are_refused_unread(xml: bytes) -> None:
    with pytest.raises(DamagedXmlError, match="declares a document type or entity, which is refused"):
        read(xml)


@pytest.mark.parametrize(
    "xml",
    [b"", b"no xml", b'<?xml version="1.0" encoding="none-such"?><Document/>', b"\xff\xfe\x00"],
)
def test_what_is_no_document_is_damaged(xml: bytes) -> None:
    with pytest.raises(DamagedXmlError):
        read(xml)


@pytest.mark.parametrize(
    ("xml", "root"),
    [
        (b"<html/>", "html"),
        (b"<Document/>", "Document"),
        (b'<Document id="1"><Focus>x</Focus><QAPairs></QAPairs></Document>', "Document"),
    ],
)
def test_whole_xml_in_which_nothing_is_asked_is_not_damaged(xml: bytes, root: str) -> None:
    with pytest.raises(NoPairsError, match=f"^no question-answer pair below <{root}>$"):
        read(xml)


def test_the_root_that_one_file_of_9_cdc_qa_has_is_read_like_any_other() -> None:
    """As published: `DiseaseFile@fid`, and ordinary pairs below it."""
    xml = DOCUMENT.replace(b"<Document id=", b"<DiseaseFile fid=").replace(b"</Document>", b"</DiseaseFile>")
    assert read(xml) == read(DOCUMENT)


def test_the_older_form_of_four_files_of_6_ninds_qa_is_read() -> None:
    (first, second) = read(
        b'<doc docid="0000007" corpus="NINDS"><doctitle-focus>Holmes-Adie</doctitle-focus><umls><cui></cui></umls>'
        b'<qaPairs><pair pid="1"><question qid="0000007-1" qtype="information">what is it ?</question>'
        b'<answer>A   disorder.</answer></pair><pair pid="2"><question>who?</question></pair></qaPairs></doc>'
    )
    assert first == Pair(
        "1_CancerGov_QA", "0000001_1_a", "0000007", "0000007-1", "Holmes-Adie", "what is it ?", "A disorder."
    )
    assert (second.qid, second.question, second.answer) == ("0000007-2", "who?", "")


@pytest.mark.realdata
def test_real_document_ids_repeat_but_record_ids_do_not(real_data: Path) -> None:
    folder = real_data / "medquad" / "1_CancerGov_QA"
    pairs = [
        pair
        for file in folder.glob("*.xml")
        for pair in read_document(file.read_bytes(), folder.name, file.stem)
    ]
    assert len(pairs) == 627
    assert len({pair.record_id for pair in pairs}) == 627
    assert len({(pair.document, pair.qid) for pair in pairs}) < 627
