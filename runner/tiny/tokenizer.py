"""Byte-level BPE tokenizers trained on a run's own text, with an architecture's real special tokens.

Special tokens as in the published tokenizers of each family: gpt2 (OpenAI), Llama 3 Instruct,
Gemma instruction-tuned, Qwen 2.5 and 3, Mistral 7B Instruct, Phi 3. The order gives the ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from converters.templates import jinja_of

VOCABULARY = 1500
"""Entries at most, special tokens and the 256 bytes included."""

WORD = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text falls into words before merging, as Llama 3 publishes it: digits by three."""

WORD_QWEN = WORD.replace(r"\p{N}{1,3}", r"\p{N}")
"""The same with single digits, as Qwen publishes it. Qwen also composes letters (NFC) first.

transformers 5.16.1 reads any tokenizer beside a qwen2 config with these two, whatever its file says.
"""

MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}{% endif %}"
    "{{ message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
"""`<s>[INST] question [/INST] answer</s>`, a system message at the head of the first question."""

PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
)
"""`<|user|>`, a line break, the question, `<|end|>`, and so on."""


@dataclass(frozen=True)
class Specials:
    """The special tokens of a family of models, by their job."""

    tokens: tuple[str, ...]
    """All of them; the place in the list is the id."""
    bos: str | None
    eos: str
    pad: str | None
    template: str | None
    """Name of a template of `converters.templates`, or Jinja text, or None: it comes without one."""
    word: str = WORD
    normal_form: bool = False
    """Letters are composed (Unicode NFC) first."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Job of an image token, as the processor asks for it -> the token."""
    last: tuple[str, ...] = ()
    """Special tokens behind the whole vocabulary."""


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_GEMMA = Specials(
    tokens=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    bos="<bos>",
    eos="<eos>",
    pad="<pad>",
    template="gemma3",
)
_IMAGES = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
_GEMMA3 = replace(_GEMMA, tokens=(*_GEMMA.tokens, *_IMAGES.values()), images=MappingProxyType(_IMAGES))
_MISTRAL = Specials(("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), "<s>", "</s>", None, MISTRAL)
_QWEN2 = Specials(_QWEN, None, "<|im_end|>", "<|endoftext|>", "chatml", word=WORD_QWEN, normal_form=True)
_QWEN3 = replace(_QWEN2, tokens=(*_QWEN, "<think>", "</think>"), template="qwen3")
_LLAMA = Specials(
    tokens=(
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|finetune_right_pad_id|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eom_id|>",
        "<|eot_id|>",
        "<|python_tag|>",
    ),
    bos="<|begin_of_text|>",
    eos="<|eot_id|>",
    pad="<|finetune_right_pad_id|>",
    template="llama3",
)
MLLAMA_IMAGE = "<|image|>"
"""Stands for an image of Llama 3.2 Vision. Its id, 128256, is one above the classes of the output layer."""

_MLLAMA = replace(_LLAMA, template="llama3_2_vision", last=(MLLAMA_IMAGE,))
_PHI3 = Specials(
    tokens=("<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    bos="<s>",
    eos="<|endoftext|>",
    pad="<|endoftext|>",
    template=PHI3,
)

SPECIALS: Mapping[str, Specials] = MappingProxyType(
    {
        "gpt2": Specials(("<|endoftext|>",), "<|endoftext|>", "<|endoftext|>", None, None),
        "llama": _LLAMA,
        "mllama": _MLLAMA,
        "gemma": _GEMMA,
        "gemma2": _GEMMA,
        "gemma3": _GEMMA3,
        "gemma3_text": _GEMMA,
        "qwen2": _QWEN2,
        "qwen2_moe": _QWEN2,
        "qwen3": _QWEN3,
        "qwen3_moe": _QWEN3,
        "mistral": _MISTRAL,
        "mixtral": _MISTRAL,
        "phi3": _PHI3,
    }
)
"""Architecture (`model_type`) -> its special tokens."""

GENERIC = Specials(_QWEN, None, "<|im_end|>", "<|endoftext|>", "chatml")
"""For an architecture whose own tokens are not known here."""

MARKERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tokenizer": (),
        "question_answer": (),
        "chatml": ("<|im_start|>", "<|im_end|>"),
        "gemma3": ("<start_of_turn>", "<end_of_turn>"),
        "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "llama3_2_vision": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "qwen3": ("<|im_start|>", "<|im_end|>"),
    }
)
"""Template -> the special tokens that it writes."""


def train(texts: Iterable[str], architecture: str, template: str) -> tuple[Any, tuple[str, ...]]:
    """Return a tokenizer trained on `texts`, and the template's markers that the architecture lacks.

    The same texts give the same tokenizer. Markers that the architecture's published tokenizers do
    not have are added, as a base that was tuned with that template would have them.

    Args:
        texts: what it learns its words from; any text can be encoded, whatever it learned.
        architecture: decides the special tokens and the chat template that comes with the tokenizer.
        template: the spec's `data.template`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = SPECIALS.get(architecture, GENERIC)
    added = tuple(token for token in MARKERS[template] if token not in specials.tokens)
    tokenizer = Tokenizer(models.BPE())
    if specials.normal_form:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(specials.word), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(  # type: ignore[no-untyped-call]  # its stub has no types
            vocab_size=VOCABULARY,
            min_frequency=2,
            special_tokens=[*specials.tokens, *added],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens(list(specials.last))
    names = {"bos_token": specials.bos, "eos_token": specials.eos, "pad_token": specials.pad}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        extra_special_tokens=dict(specials.images) or None,
        **{job: token for job, token in names.items() if token is not None},
    )
    fast.chat_template = chat_template_of(specials)
    return fast, added


def chat_template_of(specials: Specials) -> str | None:
    """Return the Jinja text of the template that comes with a family's tokenizers, None without one."""
    if specials.template is None or re.search(r"[{%]", specials.template):
        return specials.template
    return jinja_of(specials.template)


def complete(tokenizer: Any, architecture: str) -> Any:
    """Return a given tokenizer with the end token of its family where its files name none.

    GPT-NeoX's and other bare `tokenizer.json` files hold their special tokens but do not say which
    is which. Nothing is added to the vocabulary.
    """
    specials = SPECIALS.get(architecture, GENERIC)
    vocabulary = tokenizer.get_vocab()
    if tokenizer.eos_token is None:
        candidates = (specials.eos, "<|endoftext|>", "</s>", "<eos>")
        tokenizer.eos_token = next((token for token in candidates if token in vocabulary), None)
    return tokenizer
