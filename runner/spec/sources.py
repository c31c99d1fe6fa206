"""Where the records come from, what is left out of them, and how they are divided: `data` of the spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from runner.spec.section import Section, key


class Split(Section):
    """How records are divided: three counts, or three ratios that add up to 1."""

    train: int | float | None = key(None, "Records for training: a count (350) or a ratio (0.8).", gt=0)
    validation: int | float | None = key(
        None, "Records for validation while training: a count or a ratio; 0 for none.", ge=0
    )
    test: int | float | None = key(
        None, "Records for the final evaluation: a count or a ratio; 0 for none.", ge=0
    )
    by: Literal["record", "question", "focus", "group", "given"] = key(
        description="What must not be on two sides of the split: `focus` (the disease or drug), "
        "`question` (the same wording), `group` (the record's own `group` value), or `record` "
        "(each record alone). `given` takes each record's own `split` value, and no sizes."
    )
    seed: int = key(42, "Seed of the shuffle before the split; a generator of its own.", ge=0)


class Filter(Section):
    """Which records are left out before the split. Each dropped record is counted with its reason."""

    min_answer_words: int = key(0, "Drop records whose last answer is shorter.", unit="words", ge=0)
    max_answer_words: int | None = key(None, "Drop records whose last answer is longer.", unit="words", gt=0)
    deduplicate: bool = key(True, "Drop records whose messages are equal to an earlier record's.")


class SourceSection(Section):
    """Options of one data source. `NAME` is the word that selects it."""


class MedquadSource(SourceSection):
    """MedQuAD, the XML files of the public repository (Ben Abacha, Demner-Fushman 2019)."""

    source: Literal["medquad"] = key(description="The word that selects this source.")
    root: str = key(
        description="Folder that holds the collections (1_CancerGov_QA, ...), relative to the spec.",
        min_length=1,
        form="path",
        placeholder=True,
    )
    collections: tuple[str, ...] = key(
        (), "Names of the collection folders to read; empty: every folder with XML files."
    )
    damaged_files: int = key(
        0,
        "How many unreadable XML files are dropped, named and counted; one more is an error.",
        unit="files",
        ge=0,
    )


class MessagesSource(SourceSection):
    """JSON lines, one record a line: `{"messages": [{"role", "content"}, ...]}`."""

    source: Literal["messages"] = key(description="The word that selects this source.")
    path: str = key(
        description="A .jsonl file, or a folder of them, relative to the spec. A record may carry "
        "`id`, `group`, `question`, `focus` and `split` beside `messages`.",
        min_length=1,
        form="path",
        placeholder=True,
    )


class HuggingfaceSource(SourceSection):
    """A data set of the Hugging Face hub, or a local folder in the same form."""

    source: Literal["huggingface"] = key(description="The word that selects this source.")
    id: str = key(
        description="Hub id, or a local folder or file, relative to the spec.",
        min_length=1,
        form="hub-or-path",
        placeholder=True,
    )
    revision: str | None = key(None, "Commit, tag or branch of the data set on the hub.")
    subset: str | None = key(None, "Configuration of the data set, where it has several.")
    part: str = key("train", "The data set's own split to read records from.")
    messages_column: str | None = key(
        None, "Column that holds a list of messages. Either this, or the two below."
    )
    question_column: str | None = key(None, "Column that holds the question.")
    answer_column: str | None = key(None, "Column that holds the answer.")
    group_column: str | None = key(None, "Column whose value becomes the record's group.")


class SyntheticSource(SourceSection):
    """Invented medical questions with consistent answers: for trying things out, not for medicine."""

    source: Literal["synthetic_medical_qa"] = key(description="The word that selects this source.")
    records: int = key(description="How many records are generated.", unit="records", ge=10)
    seed: int = key(0, "Seed of the generator.", ge=0)


class MedquadComponent(MedquadSource):
    """MedQuAD as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0)


class MessagesComponent(MessagesSource):
    """A messages file as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0)


class HuggingfaceComponent(HuggingfaceSource):
    """A hub data set as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0)


class SyntheticComponent(SyntheticSource):
    """Invented questions as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0)


Component = Annotated[
    MedquadComponent | MessagesComponent | HuggingfaceComponent | SyntheticComponent,
    Field(discriminator="source"),
]


class MixtureSource(SourceSection):
    """Several sources read one after another and shuffled by the split."""

    source: Literal["mixture"] = key(description="The word that selects this source.")
    components: tuple[Component, ...] = key(description="The parts, each a source.", min_length=1)


class DataCommon(Section):
    """What every data source has in common."""

    template: Literal["tokenizer", "question_answer", "chatml", "gemma3", "llama3", "qwen3"] = key(
        description="How messages become text. `tokenizer`: the chat template that comes with the "
        "tokenizer; `question_answer`: 'Question: ... Answer: ...' for models without one."
    )
    system_prompt: str | None = key(
        None, "A system message put before every record that has none of its own."
    )
    split: Split = key(description="How records are divided.")
    filter: Filter = key(Filter(), "Which records are left out before the split.")


class MedquadData(DataCommon, MedquadSource):
    """MedQuAD and how it is used."""


class MessagesData(DataCommon, MessagesSource):
    """A messages file and how it is used."""


class HuggingfaceData(DataCommon, HuggingfaceSource):
    """A hub data set and how it is used."""


class SyntheticData(DataCommon, SyntheticSource):
    """Invented questions and how they are used."""


class MixtureData(DataCommon, MixtureSource):
    """A mixture of sources and how it is used."""


Data = Annotated[
    MedquadData | MessagesData | HuggingfaceData | SyntheticData | MixtureData,
    Field(discriminator="source"),
]
