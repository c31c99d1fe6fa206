"""The rules between the fields of `kind: vlm`: those of `kind: llm`, and what images add. See `rules.py`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from runner.spec.ecg_image import contradictions
from runner.spec.model import TINY_RANDOM
from runner.spec.rule import Broken, Rule
from runner.spec.rules import RULES as OF_TEXT
from runner.spec.sources import SourceSection
from runner.spec.tasks import MultilabelTask
from runner.spec.vlm_sources import (
    EcgInstructSource,
    EcgQaSource,
    FromSignalsSource,
    ImageMixtureSource,
    LabelSet,
)
from runner.spec.yaml_text import Path

if TYPE_CHECKING:
    from runner.spec.vlm import VlmSpec

TEMPLATES: Mapping[str, str] = MappingProxyType({"gemma3": "gemma3", "mllama": "llama3_2_vision"})
"""Architecture with a vision tower -> its chat template."""

IMAGE_TOKENS: Mapping[str, int] = MappingProxyType({"gemma3": 260, "mllama": 1})
"""Tokens that an image takes in the text. Gemma 3: 256, the marks of its start and end, and two empty lines. Llama
3.2 Vision looks at it by cross-attention, and has one token for its place."""

TEXT_TOKENS = 32
"""Tokens that the turns' marks, a short question and a short answer take at least."""

NAME_OF_PART = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Of a part of a mixture: it stands in paths of the spec and in the ids of records."""

ON_PREPARED_ROWS = ("dataset_keep_in_memory", "pad_to_multiple_of", "pad_to_sequence_len")
"""Raw Axolotl keys that act on rows which are made into tokens before the training."""


def _architecture_sees(spec: VlmSpec) -> Broken:
    if spec.model.architecture not in TEMPLATES:
        yield ("model", "architecture"), f"{spec.model.architecture!r} with images"


def _template_fits(spec: VlmSpec) -> Broken:
    own = TEMPLATES.get(spec.model.architecture)
    if own is not None and spec.data.template != own:
        yield (
            ("data", "template"),
            f"{spec.data.template!r} with the architecture {spec.model.architecture!r}, which has {own!r}",
        )


def _no_system_prompt(spec: VlmSpec) -> Broken:
    if spec.model.architecture == "mllama" and spec.data.system_prompt is not None:
        yield ("data", "system_prompt"), "a system message beside images, with the architecture 'mllama'"


def _rows_are_not_prepared(spec: VlmSpec) -> Broken:
    for name in ON_PREPARED_ROWS:
        if name in spec.axolotl:
            yield ("axolotl", name), f"{name!r}, which records with images never pass"


def _image_fits(spec: VlmSpec) -> Broken:
    tokens = IMAGE_TOKENS.get(spec.model.architecture)
    if tokens is None or spec.model.base == TINY_RANDOM:  # whose images take four
        return
    least = tokens + TEXT_TOKENS
    if spec.model.context < least:
        yield (
            ("model", "context"),
            f"{spec.model.context} tokens; one image of {spec.model.architecture} takes {tokens}, and with a "
            f"question and an answer at least {least}",
        )


def _no_fp16(spec: VlmSpec) -> Broken:
    if spec.model.architecture == "gemma3" and spec.train.precision == "fp16":
        yield ("train", "precision"), "fp16 with the architecture 'gemma3'"


def _groups_do_not_hold_each_other(spec: VlmSpec) -> Broken:
    include: tuple[str, ...] = getattr(spec.method, "include", ())
    if {"cross_attention", "cross_attention.layers"} <= set(include):
        yield (
            ("method", "include"),
            "cross_attention and cross_attention.layers, of which the second holds the first",
        )


def _pages_can_be_drawn(spec: VlmSpec) -> Broken:
    options = [("render",), *(("looks", number) for number in range(len(spec.data.looks)))]
    for path, render in zip(options, (spec.data.render, *spec.data.looks), strict=True):
        for below, message, _ in contradictions(render):
            yield ("data", *path, *below.split(".")), message


def _sources_have_what_they_need(spec: VlmSpec) -> Broken:
    for path, source in _sources(spec):
        if not isinstance(source, FromSignalsSource):
            continue
        synthetic = source.format == "synthetic"
        if synthetic and source.records is None:
            yield (*path, "records"), "`format: synthetic` without a number of recordings"
        if synthetic and source.folder is not None:
            yield (*path, "folder"), "a folder with `format: synthetic`, which reads none"
        if not synthetic and source.folder is None:
            yield (*path, "folder"), f"`format: {source.format}` without a folder"
        if source.databases and source.format != "cinc2021":
            yield (*path, "databases"), f"databases with `format: {source.format}`"
        if source.fs_hz != 500 and source.format == "cinc2021":
            yield (*path, "fs_hz"), "a sampling rate for `format: cinc2021`, whose files say their own"


def _parts_can_be_read(spec: VlmSpec) -> Broken:
    data = spec.data
    if isinstance(data, ImageMixtureSource):
        if not any(part.use for part in data.components.values()):
            yield ("data", "components"), f"none of {', '.join(data.components)} is used"
        for name in data.components:
            if NAME_OF_PART.fullmatch(name) is None:
                yield ("data", "components", name), f"a part with the name {name!r}"
    for path, source in _sources(spec):
        if isinstance(source, EcgInstructSource) and source.missing == "draw" and source.ptbxl is None:
            yield (*path, "missing"), "`missing: draw` without `ptbxl`, whose recordings would be drawn"


def _tokenizer_of_the_processor(spec: VlmSpec) -> Broken:
    if spec.model.tokenizer is not None:
        yield ("model", "tokenizer"), f"{spec.model.tokenizer!r} beside the processor of {spec.model.base!r}"


def _attention_takes_a_mask(spec: VlmSpec) -> Broken:
    if spec.model.attention == "flash_attention_2":
        yield (
            ("model", "attention"),
            f"flash_attention_2 with images and the architecture {spec.model.architecture!r}",
        )


OF_PTBXL: frozenset[str] = frozenset(get_args(LabelSet))
"""Label sets that the statements of PTB-XL give, and those of invented recordings."""
OF_SNOMED = frozenset({"code15"})
"""Label sets that SNOMED CT codes give."""


def _label_sets_can_be_had(spec: VlmSpec) -> Broken:
    """Yield tasks with labels that no source has, used or not: an arm may leave out the one source with labels."""
    carried = [_carried_by(source) for path, source in _sources(spec) if "stand_ins" not in path]
    known = [labels for labels in carried if labels is not None]
    if len(known) < len(carried):
        return
    have = frozenset().union(*known)
    for number, task in enumerate(spec.evaluate):
        if isinstance(task, MultilabelTask) and task.label_set not in have:
            said = f"the sources of data give {', '.join(sorted(have)) or 'none'}"
            yield ("evaluate", number, "label_set"), f"{task.label_set!r}, but {said}"


def _carried_by(source: SourceSection) -> frozenset[str] | None:
    """Return the label sets that records of a source can carry; None where only its file tells."""
    if isinstance(source, EcgInstructSource):
        return OF_PTBXL if source.ptbxl is not None else frozenset()
    if isinstance(source, FromSignalsSource):
        return OF_SNOMED if source.format == "cinc2021" else OF_PTBXL
    return OF_PTBXL if isinstance(source, EcgQaSource) else None


def _sources(spec: VlmSpec) -> Iterator[tuple[Path, SourceSection]]:
    """Yield each source with its place: the one, or the parts of a mixture and their stand-ins."""
    data = spec.data
    if not isinstance(data, ImageMixtureSource):
        yield ("data",), data
        return
    for name, part in data.components.items():
        yield ("data", "components", name), part
        for number, other in enumerate(part.stand_ins):
            yield ("data", "components", name, "stand_ins", number), other


RULES: tuple[Rule[Any], ...] = (
    *OF_TEXT,
    Rule(
        "R090",
        "the architecture must be one whose images are known here: gemma3, mllama",
        "The place of the image, its tokens and the names of its parts differ from one architecture to the next.",
        "write gemma3 (Gemma 3, MedGemma) or mllama (Llama 3.2 Vision); for text alone take kind: llm",
        _architecture_sees,
    ),
    Rule(
        "R091",
        "the chat template must be that of the architecture",
        "Another one writes no image token, or one that the processor does not know: the image would be ignored, "
        "or the training would stop.",
        "write gemma3 for gemma3, llama3_2_vision for mllama",
        _template_fits,
    ),
    Rule(
        "R092",
        "Llama 3.2 Vision takes no system message beside an image",
        "Its chat template stops with an error where a conversation has both.",
        "put the text at the head of the question, or take data.system_prompt out",
        _no_system_prompt,
    ),
    Rule(
        "R093",
        "raw keys must act on records with images",
        "Such records become tokens while training, one batch at a time; what is done to prepared rows (packing and "
        "padding to a fixed length among it) is done to none, and nothing says so.",
        "take the key out",
        _rows_are_not_prepared,
    ),
    Rule(
        "R094",
        "model.context must hold an image, a question and an answer",
        "The engine does not cut records with images, so those that are longer are refused; here that is all of them.",
        "raise model.context; 1024 holds a page and a report",
        _image_fits,
    ),
    Rule(
        "R095",
        "Gemma 3 is not trained in fp16",
        "Its activations are larger than fp16 can hold, 65,504; the loss becomes no number.",
        "take bf16 or fp32",
        _no_fp16,
    ),
    Rule(
        "R096",
        "name the attention to the image, or the whole of its layers",
        "Of Llama 3.2 Vision the first is 336 million weights, the second 1.75 billion: a run must say which it trains.",
        "keep the one you mean",
        _groups_do_not_hold_each_other,
    ),
    Rule(
        "R097",
        "a page is drawn at one resolution, and each span begins with its smaller end",
        "Of two resolutions one would be ignored; between a larger and a smaller number nothing can be drawn.",
        "keep dpi or px_per_mm, and write each span as [smallest, largest]",
        _pages_can_be_drawn,
    ),
    Rule(
        "R098",
        "recordings are made up, so many, or read from a folder",
        "`synthetic` makes as many as `records` says. `ptbxl` and `cinc2021` lie in a folder; only the latter has "
        "databases, and its files say their own sampling rate.",
        "give records or folder, and take out what the format does not read",
        _sources_have_what_they_need,
    ),
    Rule(
        "R099",
        "a mixture has a part that is read, parts have names that a path can hold, and what is drawn has a recording",
        "A sweep reaches a part by its name, as in data.components.NAME.use; a page is drawn from the signals of PTB-XL.",
        "use one of the parts, name them by lower case letters, digits, `-` and `_`, and give the folder of `ptbxl`",
        _parts_can_be_read,
    ),
    Rule(
        "R100",
        "images need an attention that takes a mask",
        "The tokens of a Gemma 3 image see each other in both directions, and a token of Llama 3.2 Vision sees the tiles "
        "of its image. Both stand in masks, which flash_attention_2 does not take: it would train another model, or stop.",
        "write model.attention: sdpa, or eager",
        _attention_takes_a_mask,
    ),
    Rule(
        "R101",
        "the tokenizer of a model that sees is that of its processor",
        "The processor writes image tokens by their names and counts them by their ids; another tokenizer may know "
        "neither, or give them other ids.",
        "take model.tokenizer out",
        _tokenizer_of_the_processor,
    ),
    Rule(
        "R102",
        "a task with labels needs a source that gives them",
        "PTB-XL's statements give every set but cpsc2018, SNOMED CT codes give code15, and rows of ECGInstruct have "
        "labels only where `ptbxl` names the set. Without labels nothing is judged. A part that an ablation leaves out "
        "(`use: false`) counts: the other arms are judged, and that one says why not.",
        "give `ptbxl`, take a set that the records carry, or read `messages` that carry it themselves",
        _label_sets_can_be_had,
    ),
)
