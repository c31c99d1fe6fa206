"""`runner explain`: codes, keys, other tools' words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from converters.foreign import FOREIGN, WHY
from runner.docs import rules_page, spec_page
from runner.explain import explain
from runner.spec.codes import CODES
from runner.spec.fields import leaves
from runner.spec.kinds import KINDS, every_rule
from runner.spec.problems import UsageError


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str) -> None:
    text = explain(code)
    assert text.startswith(f"{code}: {CODES[code].title}")
    assert CODES[code].reason in text
    assert CODES[code].fix in text


def test_a_code_in_any_case() -> None:
    assert explain("r012") == explain("R012")
    assert explain("Unknown-Key") == explain("unknown-key")


@pytest.mark.parametrize(
    ("kind", "path"), [(kind, leaf.path) for kind, cls in KINDS.items() for leaf in leaves(cls)]
)
def test_every_key_is_explained(kind: str, path: str) -> None:
    text = explain(path)
    assert f"{path}: " in text
    assert f"docs/spec.md#{path}\n" in f"{text}\n" or f"docs/spec.md#{kind}.{path}\n" in f"{text}\n"


def test_a_key_in_full() -> None:
    assert "(of kind ecg) train.batch: whole number" in explain("train.batch")
    assert explain("train.batch.micro") == (
        "train.batch.micro: whole number, in records, at least 1, at most 10,000,000; required\n"
        "  Records per device and forward pass.\n"
        "  see docs/spec.md#train.batch.micro"
    )
    assert "one of eager, sdpa, flash_attention_2; default sdpa" in explain("model.attention")
    assert "keys: micro, effective" in explain("train.batch")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("method.name", "method.name: one of full, lora, dora, qlora, partial; required"),
        (
            "method.name",
            "(of kind ecg) method.name: one of full, linear_probe, lora, zeroth_order, fusion, addax, hybrid; ",
        ),
        ("data.source", "data.source: one of medquad, messages, huggingface, "),
        ("evaluate[0].task", "evaluate.task: one of perplexity, rouge, classification, "),
        (
            "data.pipeline.step",
            "(of kind ecg) data.pipeline.step: one of filter, standardise, resample, pad_or_crop; ",
        ),
        ("kind", "kind: one of llm, vlm, ecg; "),
    ],
)
def test_a_word_that_chooses_says_all_that_there_is_to_choose(key: str, said: str) -> None:
    assert any(line.startswith(said) for line in explain(key).splitlines())


def test_the_last_word_of_a_key_finds_all_its_places() -> None:
    assert re.findall(r"^(\S+): ", explain("split"), re.MULTILINE) == [
        "data.split",
        "evaluate.split",
        "reference.metrics.split",
    ]
    assert explain("micro") == explain("train.batch.micro")
    assert explain("batch.micro") == explain("train.batch.micro")


def test_positions_as_messages_write_them() -> None:
    assert explain("evaluate[0].split") == explain("evaluate.split")


@pytest.mark.parametrize("word", FOREIGN)
def test_every_foreign_word_is_explained(word: str) -> None:
    assert FOREIGN[word].replace("[]", "") in explain(word)


@pytest.mark.parametrize("word", WHY)
def test_every_piece_of_advice_is_given(word: str) -> None:
    assert WHY[word] in explain(word)


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("mico", "micro"),
        ("R049", "R0"),
        ("unknown-kye", "unknown-key"),
        ("lora_alhpa", "lora_alpha"),
        ("train.bach", "train.batch"),
    ],
)
def test_a_word_that_nobody_knows(word: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"nearest: {near}") as caught:
        explain(word)
    assert caught.value.exit_code == 2


def test_nothing_near() -> None:
    with pytest.raises(UsageError, match=r"see docs/rules\.md"):
        explain("qwertyuiop")


def test_every_link_into_the_docs_has_its_anchor() -> None:
    pages = {"docs/spec.md": spec_page(), "docs/rules.md": rules_page()}
    words = [*CODES, *(leaf.path for cls in KINDS.values() for leaf in leaves(cls))]
    links = {link for word in words for link in re.findall(r"see (\S+)#(\S+)", explain(word))}
    assert len(links) > 100
    for page, anchor in links:
        assert pages[page].count(f'<a id="{anchor}"></a>') == 1, (page, anchor)


def test_rule_codes_go_up_and_are_never_reused() -> None:
    codes = [rule.code for rule in every_rule()]
    assert codes == sorted(set(codes))
    assert all(re.fullmatch(r"R\d{3}", code) for code in codes)


def test_the_fixes_are_short_enough_to_read() -> None:
    for code in CODES.values():
        assert len(code.title) < 120, code.code
        assert not code.fix.endswith("."), code.code
        assert code.reason.endswith("."), code.code


def test_docs_validate_names_what_exists() -> None:
    root = Path(__file__).parent.parent.parent
    page = (root / "docs" / "validate.md").read_text(encoding="utf-8")
    hooks = (root / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    assert "runner-validate" in page
    assert "id: runner-validate" in hooks
    assert "runner/spec/schema/llm.json" in page
