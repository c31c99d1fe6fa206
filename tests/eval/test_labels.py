"""Labels read from texts: by whole words, with negation, and never by what only looks like a label."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from converters.records import label_sets as of_records
from eval.label_sets import LABEL_SETS, label_set, label_set_sha256
from eval.labels import Reading, reader, truth_of
from eval.phrases import words_of

REPORTS = Path(__file__).parents[3] / "shared/data/ecgbench_report_sample/ptb_report_generation_test.json"


def test_a_set_has_the_labels_that_its_source_has() -> None:
    sizes = {name: len(label_set(name).labels) for name in LABEL_SETS}
    assert sizes == {"superclasses": 5, "subclasses": 23, "statements": 71, "code15": 6, "cpsc2018": 9}


@pytest.mark.parametrize("name", of_records.LABEL_SETS)
def test_the_labels_are_those_that_records_carry(name: str) -> None:
    assert set(label_set(name).ids) == set(of_records.label_set(name))


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_name_is_read_as_its_own_label_and_no_other(name: str) -> None:
    """What a record answers, what a question asks and what the source calls it: each names one label."""
    answered = of_records.label_set(name) if name in of_records.LABEL_SETS else {}
    for label in label_set(name).labels:
        for text in (label.name, *([answered[label.id]] if answered else [])):
            assert reader(name).read(text).affirmed == {label.id}, text


@pytest.mark.parametrize(
    ("name", "text", "affirmed"),
    [
        ("code15", "ST elevation in V2", set()),
        ("code15", "AFL, incomplete right bundle branch block", set()),
        ("code15", "sinus tachycardia (ST) with first-degree A-V block", {"ST", "1dAVb"}),
        ("cpsc2018", "STEMI", set()),
        ("cpsc2018", "ABNORMAL", set()),
        ("superclasses", "ABNORMAL ECG, inferior MI", {"MI"}),
        ("superclasses", "No MI, no ST depression. LVH", {"HYP"}),
        ("superclasses", "no inferior infarction but an old anteroseptal infarction", {"MI"}),
        ("superclasses", "infarction cannot be excluded", {"MI"}),
        ("statements", "Ventricular premature complexes. No atrial premature complexes.", {"PVC"}),
    ],
)
def test_only_what_is_meant_is_found(name: str, text: str, affirmed: set[str]) -> None:
    assert reader(name).read(text).affirmed == affirmed


@pytest.mark.parametrize(
    ("name", "text", "affirmed", "denied"),
    [
        ("superclasses", "- NORM: No\n- MI: Yes\n- STTC: No\n- CD: No\n- HYP: No", {"MI"}, {"NORM", "STTC", "CD", "HYP"}),
        ("superclasses", "NORM: No, MI: Yes, STTC: No, CD: No, HYP: No", {"MI"}, {"NORM", "STTC", "CD", "HYP"}),
        ("superclasses", "**NORM**: No **MI**: Yes **CD**: No", {"MI"}, {"NORM", "CD"}),
        ("superclasses", "MI=no HYP=yes CD=no", {"HYP"}, {"MI", "CD"}),
        ("superclasses", "MI: no, HYP: yes", {"HYP"}, {"MI"}),
        ("superclasses", "MI (no), HYP (yes)", {"HYP"}, {"MI"}),
        ("superclasses", "MI (no) HYP (yes)", {"HYP"}, {"MI"}),
        ("superclasses", "MI (absent), HYP (present)", {"HYP"}, {"MI"}),
        ("superclasses", "MI: absent, HYP: present", {"HYP"}, {"MI"}),
        ("superclasses", "MI: not present; HYP: present", {"HYP"}, {"MI"}),
        ("superclasses", "MI - no; HYP - yes", {"HYP"}, {"MI"}),
        ("superclasses", "| MI | no |\n| HYP | yes |", {"HYP"}, {"MI"}),
        ("superclasses", '{"MI": false, "HYP": true}', {"HYP"}, {"MI"}),
        ("superclasses", "MI: No evidence. HYP: yes", {"HYP"}, {"MI"}),
        ("superclasses", "MI: No evidence of infarction, HYP: yes", {"HYP"}, {"MI"}),
        ("superclasses", "HYP: no LVH", set(), {"HYP"}),
        ("superclasses", "Is there an infarct? No, but there is LVH.", {"HYP"}, {"MI"}),
        ("superclasses", "No, it shows hypertrophy.", {"HYP"}, set()),
        ("superclasses", "No, it shows LVH or LBBB.", {"HYP", "CD"}, set()),
        ("superclasses", "No infarct, LVH or LBBB.", set(), {"HYP", "CD", "MI"}),
        ("superclasses", "Infarct and LVH: no", set(), {"HYP", "MI"}),
        ("code15", "AF: no\nRBBB: yes", {"RBBB"}, {"AF"}),
        ("code15", "AF: no LBBB", {"AF"}, {"LBBB"}),
        ("code15", "AF: absent P waves", {"AF"}, set()),
        ("code15", "AF (absent P waves)", {"AF"}, set()),
        ("code15", "AF, no RBBB, no LBBB", {"AF"}, {"RBBB", "LBBB"}),
    ],
)  # fmt: skip
def test_an_answer_behind_a_label_is_of_that_label(
    name: str, text: str, affirmed: set[str], denied: set[str]
) -> None:
    found = reader(name).read(text)
    assert (found.affirmed, found.denied) == (affirmed, denied)
    assert found.parsed


@pytest.mark.parametrize(
    ("mark", "end"), [(": ", ", "), (" (", "), "), (" - ", "; "), ("=", "\n"), ("? ", ". ")]
)
@pytest.mark.parametrize("no", ["no", "No", "absent", "not present", "none", "negative"])
@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_label_can_be_answered_by_itself(name: str, no: str, mark: str, end: str) -> None:
    """A list that affirms every third label and denies the others is read so, whatever parts its pairs."""
    ids = label_set(name).ids
    text = "".join(f"{label}{mark}{no if place % 3 else 'yes'}{end}" for place, label in enumerate(ids))
    found = reader(name).read(text)
    assert found.affirmed == set(ids[::3])
    assert found.denied == set(ids) - set(ids[::3])


@pytest.mark.parametrize(
    "text", ["", "I cannot interpret images.", "Mission STEP normality", "Sinus rhythm.", "No sinus rhythm"]
)
def test_what_says_nothing_of_the_set_is_not_parsed(text: str) -> None:
    found = reader("superclasses").read(text)
    assert found == Reading(frozenset(), frozenset(), parsed=False)


@pytest.mark.parametrize("text", ["None of these.", "ABNORMAL", "no abnormality; sinus rhythm"])
def test_that_there_is_none_is_an_answer(text: str) -> None:
    assert reader("code15").read(text) == Reading(frozenset(), frozenset(), parsed=True)


def test_a_denial_is_an_answer() -> None:
    found = reader("code15").read("no atrial fibrillation")
    assert found == Reading(frozenset(), frozenset({"AF"}), parsed=True)


def test_a_label_affirmed_and_denied_is_there() -> None:
    found = reader("code15").read("AF before, no AF today")
    assert found == Reading(frozenset({"AF"}), frozenset(), parsed=True)


def test_decisions_have_the_order_of_the_set() -> None:
    decisions, parsed = reader("superclasses").decisions(["HYP, NORM", "what?"])
    assert decisions.tolist() == [[True, False, False, False, True], [False] * 5]
    assert parsed.tolist() == [True, False]


def test_a_label_of_another_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of the set: 'AF'"):
        truth_of([["AF"]], label_set("superclasses").ids)


def test_an_unknown_set_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no label set 'super'; there are: superclasses"):
        label_set("super")


def test_each_set_has_a_hash_of_its_own() -> None:
    assert len({label_set_sha256(name) for name in LABEL_SETS}) == len(LABEL_SETS)


def test_a_plural_of_a_hiss_loses_two_letters() -> None:
    assert [word.folded for word in words_of("complexes axes indexes branches")] == [
        "complex",
        "axe",
        "index",
        "branch",
    ]


def test_published_reports_are_read_and_refusals_are_not() -> None:
    """Of 349 reference reports of ECGBench 5 are refusals; the other silent ones tell rhythm, axis or voltage alone."""
    if not REPORTS.is_file():
        pytest.skip("the sample of ECGBench's reports is not here")
    texts = [item["conversation"][1]["value"] for item in json.loads(REPORTS.read_text(encoding="utf-8"))]
    silent = [text for text in texts if not reader("superclasses").read(text).parsed]
    assert len(silent) == 26
    assert sum(text.startswith("Sure, please provide the ECG report") for text in silent) == 5
