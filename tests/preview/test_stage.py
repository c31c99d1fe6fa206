"""The stage with the real Axolotl: what a right config teaches, and that a wrong one is found out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from preview_run import PreviewRun, prepared, record, vlm_spec

from runner.validate import load_spec
from tests.support.specs import FOLDER

pytestmark = [pytest.mark.axolotl, pytest.mark.filterwarnings("ignore")]

SIZE = (440, 340)
"""Of the images, in pixels: US letter at 40 dpi."""
PX_PER_MM = 40 / 25.4
ANSWER = "Sinus rhythm, 72 bpm. No sign of ischaemia."


@pytest.fixture(autouse=True)
def _engine() -> None:
    pytest.importorskip("axolotl", reason="needs the extra `train`")


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> PreviewRun:
    spec = load_spec(FOLDER / "quickstart" / "llm.yaml", (), {}).spec
    return prepared(tmp_path_factory.mktemp("text"), spec, text_records())


def text_records() -> list[dict[str, Any]]:
    told = record("told", "What is asthma?", "Asthma is a disease of the airways.")
    short = record("short", "Is it common?", "Yes.")
    turns = record("turns", "And in children?", "Often.")
    turns["messages"] = [{"role": "system", "content": "Be brief."}, *short["messages"], *turns["messages"]]
    return [told, short, turns]


@pytest.fixture(scope="module", params=["gemma3", "mllama"])
def image_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreviewRun:
    from PIL import Image, ImageDraw

    folder = tmp_path_factory.mktemp(request.param)
    page = Image.new("RGB", SIZE, (255, 240, 240))
    ImageDraw.Draw(page).rectangle((0, 0, SIZE[0] // 4, SIZE[1] // 4), fill=(0, 0, 0))
    page.save(folder / "page.png")
    manifest = {"px_per_mm": PX_PER_MM, "width": SIZE[0], "height": SIZE[1]}
    (folder / "page.json").write_text(json.dumps(manifest), encoding="utf-8")
    records = [
        record(f"r{n}", f"What is on page {n}?", ANSWER, images=[str(folder / "page.png")]) for n in range(2)
    ]
    return prepared(folder, vlm_spec(request.param), records)


@contextmanager
def sabotaged(run: PreviewRun, more: dict[str, Any] | None = None, **changes: Any) -> Iterator[None]:
    """Change keys of the engine's config and of its data set; None takes a key out. `more` adds keys at the top."""
    before = run.config.read_text(encoding="utf-8")
    config = yaml.safe_load(before)
    for place in (config, *config["datasets"]):
        for key, value in changes.items():
            if value is None:
                place.pop(key, None)
            elif key in place:
                place[key] = value
    run.config.write_text(yaml.safe_dump({**config, **(more or {})}), encoding="utf-8")
    try:
        yield
    finally:
        run.config.write_text(before, encoding="utf-8")


def learned(shown: dict[str, Any]) -> str:
    return "".join(token["text"] for token in shown["tokens"] if token["learned"])


def faults(value: dict[str, Any]) -> set[str]:
    return {finding["fault"] for shown in value["records"] for finding in shown["findings"]}


def test_text_is_taught_answer_by_answer(text_run: PreviewRun) -> None:
    code, value = text_run.preview()
    assert (code, value["findings"]) == (0, 0)
    by_id = {shown["id"]: shown for shown in value["records"]}
    assert learned(by_id["told"]).strip() == "Asthma is a disease of the airways.<|eot_id|>"
    assert [part.strip() for part in learned(by_id["turns"]).split("<|eot_id|>")] == ["Yes.", "Often.", ""]
    assert by_id["turns"]["counts"]["answers_whole"] == 2
    told = by_id["told"]["counts"]
    assert told["share"] == told["learned"] / told["tokens"]
    assert "".join(token["text"] for token in by_id["told"]["tokens"]).startswith(
        "<|begin_of_text|>Question: What"
    )
    assert not (text_run.folder / "preview" / "engine").exists()


@pytest.mark.parametrize("changes", [{"train_on_inputs": True}, {"roles_to_train": ["user", "assistant"]}])
def test_a_question_that_is_learned_fails_and_is_named(text_run: PreviewRun, changes: dict[str, Any]) -> None:
    with sabotaged(text_run, **changes):
        code, value = text_run.preview()
    assert code == 1
    assert "prompt-learned" in faults(value)
    told = next(shown for shown in value["records"] if shown["id"] == "told")
    named = "".join(told["tokens"][place]["text"] for place in told["findings"][0]["tokens"])
    assert named.strip() == "What is asthma?"


def test_an_end_that_is_not_learned_fails(text_run: PreviewRun) -> None:
    with sabotaged(text_run, train_on_eos="none"):
        code, value = text_run.preview()
    assert (code, faults(value)) == (1, {"end-missed"})


def test_an_answer_behind_the_context_fails_and_a_cut_one_is_told(text_run: PreviewRun) -> None:
    context = text_run.settings["context"]
    text_run.write(
        [record("lost", "why " * 2 * context, "Yes."), record("cut", "Why?", "Because " * 2 * context)]
    )
    try:
        code, value = text_run.preview(records=2)
    finally:
        text_run.write(text_records())
    by_id = {shown["id"]: shown for shown in value["records"]}
    assert code == 1
    assert [finding["fault"] for finding in by_id["lost"]["findings"]] == ["nothing-learned"]
    assert "beyond the context" in by_id["lost"]["findings"][0]["message"]
    assert by_id["cut"]["findings"] == []
    counts = by_id["cut"]["counts"]
    assert (counts["tokens"], counts["answers_cut"]) == (context, 1)
    assert counts["before_cut"] > 2 * context
    assert by_id["cut"]["warnings"] == [
        f"cut at the context: {context:,} of {counts['before_cut']:,} tokens are left"
    ]


def test_images_are_shown_as_they_reach_the_encoder(image_run: PreviewRun) -> None:
    """440 x 340 pixels at 1.5748 per mm. Gemma 3 makes 896 x 896 of it; Llama 3.2 takes one tile of 560 x 560."""
    code, value = image_run.preview()
    assert (code, value["findings"]) == (0, 0)
    for shown in value["records"]:
        assert learned(shown).strip() in (f"{ANSWER}<end_of_turn>", f"{ANSWER}<|eot_id|>")
        (image,) = shown["images"]
        full, small = image["views"]
        wanted = {
            "gemma3": (896, 896, [896, 896], 896 / 440 * PX_PER_MM, 896 / 340 * PX_PER_MM),
            "mllama": (560, 560, [560, 432], 560 / 440 * PX_PER_MM, 432 / 340 * PX_PER_MM),
        }[value["architecture"]]
        assert (full["width"], full["height"], full["content"]) == wanted[:3]
        assert full["px_per_mm"] == pytest.approx(wanted[3:])
        assert "small encoder" in small["title"]
        # Drawn with 1.57: what Gemma 3's processor enlarges to 3.2 has no more detail than before.
        said = {
            "gemma3": "1.57 pixels per mm across and 1.57 down, and is enlarged",
            "mllama": "reach the encoder",
        }
        assert [said[value["architecture"]] in text for text in shown["warnings"]] == [True]


def test_the_pictures_are_those_of_the_page(image_run: PreviewRun) -> None:
    """A black corner of a quarter of the width and height, on pale paper."""
    from PIL import Image

    code, value = image_run.preview(records=1)
    assert code == 0
    for view in value["records"][0]["images"][0]["views"]:
        with Image.open(image_run.folder / "preview" / view["picture"]) as picture:
            assert picture.size == (view["width"], view["height"])
            across, down = view["content"]
            assert max(picture.getpixel((across // 10, down // 10))) <= 2
            assert picture.getpixel((across // 2, down // 2)) == pytest.approx((255, 240, 240), abs=2)


def test_without_its_chat_template_the_engine_trains_on_all_and_that_is_found(image_run: PreviewRun) -> None:
    with sabotaged(image_run, chat_template=None):
        code, value = image_run.preview()
    assert (code, value["strategy"]) == (1, "ProcessingStrategy")
    assert "prompt-learned" in faults(value)
    finding = next(one for one in value["records"][0]["findings"] if one["fault"] == "prompt-learned")
    tokens = value["records"][0]["tokens"]
    named = {tokens[place]["text"].strip() for place in finding["tokens"]}
    assert {"What", "page", "?"} <= named
    assert "ischaemia" not in "".join(named)


def test_an_image_that_is_no_image_stops_the_preview(image_run: PreviewRun, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    before = (image_run.folder / "data" / "train.jsonl").read_text(encoding="utf-8")
    image_run.write([record("r", "What?", "Nothing.", images=[str(tmp_path / "torn.png")])])
    try:
        code, value = image_run.preview(records=1)
    finally:
        (image_run.folder / "data" / "train.jsonl").write_text(before, encoding="utf-8")
    assert code == 2
    assert "torn.png cannot be opened" in value["error"]


def test_the_config_of_eight_gpus_is_read_on_a_cpu(image_run: PreviewRun) -> None:
    """What holds weights on a GPU changes no row; here it would be refused."""
    of_gpus = {
        "bf16": True,
        "tf32": True,
        "adapter": "qlora",
        "load_in_4bit": True,
        "deepspeed": "config/deepspeed.json",
    }
    with sabotaged(image_run, of_gpus, adapter="qlora"):
        code, value = image_run.preview(records=1)
    assert (code, value["findings"]) == (0, 0)


def test_a_model_that_is_not_at_hand_is_said_to_be_missing(image_run: PreviewRun) -> None:
    with sabotaged(image_run, base_model="./nowhere"):
        code, value = image_run.preview(records=1)
    assert code == 3
    assert "cannot be made ready for './nowhere'" in value["error"]
    assert "--rehearse needs neither" in value["error"]
