"""Where the records come from, what is left out of them, and how they are divided: `data` of the spec."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from runner.spec.section import Section, key

Limit = Annotated[float, Field(ge=-1_000_000, le=1_000_000)]


class Split(Section):
    """How records are divided: three counts, or three ratios that add up to 1."""

    train: int | float | None = key(
        None, "Records for training: a count (350) or a ratio (0.8).", gt=0, le=1_000_000_000
    )
    validation: int | float | None = key(
        None,
        "Records for validation while training: a count or a ratio; 0 for none.",
        ge=0,
        le=1_000_000_000,
    )
    test: int | float | None = key(
        None,
        "Records for the final evaluation: a count or a ratio; 0 for none.",
        ge=0,
        le=1_000_000_000,
    )
    by: Literal["record", "question", "focus", "group", "features", "given"] = key(
        description="What must not be on two sides of the split: `focus` (the disease or drug), "
        "`question` (the same wording), `group` (the record's own `group` value), `features` (rows of "
        "a table with equal values), or `record` (each record alone). `given` takes each record's own "
        "`split` value, and no sizes."
    )
    seed: int = key(42, "Seed of the shuffle before the split; a generator of its own.", ge=0, le=2**32 - 1)


class Filter(Section):
    """Which records are left out before the split. Each dropped record is counted with its reason."""

    min_answer_words: int = key(
        0, "Drop records whose last answer is shorter.", unit="words", ge=0, le=1_000_000_000
    )
    max_answer_words: int | None = key(
        None, "Drop records whose last answer is longer.", unit="words", gt=0, le=1_000_000_000
    )
    deduplicate: bool = key(True, "Drop records whose messages are equal to an earlier record's.")


class SourceSection(Section):
    """Options of one data source. `NAME` is the word that selects it."""

    HOLDS_PATIENTS: ClassVar[bool] = True
    """Whether a record may be of a patient; so it is unless a source knows better."""

    def holds_patients(self) -> bool:
        """Return whether a record may be of a patient: a page then shows none unless it is told to."""
        return self.HOLDS_PATIENTS


class MedquadSource(SourceSection):
    """MedQuAD, the XML files of the public repository (Ben Abacha, Demner-Fushman 2019)."""

    HOLDS_PATIENTS: ClassVar[bool] = False

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
        le=1_000_000_000,
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

    HOLDS_PATIENTS: ClassVar[bool] = False

    source: Literal["synthetic_medical_qa"] = key(description="The word that selects this source.")
    records: int = key(description="How many records are generated.", unit="records", ge=10, le=10_000_000)
    seed: int = key(0, "Seed of the generator.", ge=0, le=2**32 - 1)


class Answers(Section):
    """What is answered for each value of a table's label."""

    absent: str = key(description="The answer where the disease is absent (label 0).", min_length=1)
    present: str = key(description="The answer where it is present (label 1, or above).", min_length=1)


class TabularSource(SourceSection):
    """A table of patients, one a row, put into words by a prompt of the spec."""

    FIELDS: ClassVar[tuple[str, ...]] = ()
    """The names that may stand in the prompt."""

    root: str = key(
        description="Folder that holds the table, or the file itself, relative to the spec.",
        min_length=1,
        form="path",
        placeholder=True,
    )
    prompt: str = key(
        description="What is asked about a row; each `{name}` is replaced by that column's value in "
        "words (categories decoded, `{{` for a brace). The names stand beside the source's word in docs/spec.md.",
        min_length=1,
    )
    answers: Answers = key(description="What is answered for each value of the label.")
    missing: Literal["unknown", "drop"] = key(
        "unknown",
        "What becomes of a row without a value that the prompt names: `unknown` puts that word in its "
        "place, `drop` leaves the row out and counts it.",
    )


class Plausible(Section):
    """Limits outside which a row is dropped, named and counted. `null` for no limit."""

    ap_hi: tuple[Limit, ...] | None = key(
        (60, 260), "Lowest and highest systolic pressure kept.", unit="mmHg"
    )
    ap_lo: tuple[Limit, ...] | None = key(
        (30, 160), "Lowest and highest diastolic pressure kept.", unit="mmHg"
    )
    height: tuple[Limit, ...] | None = key((120, 220), "Lowest and highest height kept.", unit="cm")
    weight: tuple[Limit, ...] | None = key((30, 200), "Lowest and highest weight kept.", unit="kg")
    inverted: Literal["drop", "keep"] = key(
        "drop", "What becomes of a row whose diastolic pressure is above its systolic one."
    )


class CardioSource(TabularSource):
    """Cardiovascular disease data of 70,000 check-ups (Kaggle, S. Ulianova), or the table derived from it.

    Both layouts are known by their header and give the same text. Names for the prompt: age_years, sex,
    height (cm), weight (kg), ap_hi and ap_lo (mmHg), cholesterol and gluc (normal, above normal, well above
    normal), smoke, alco and active (yes, no), bmi (kg/m2, one decimal), bp_category.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "age_years",
        "sex",
        "height",
        "weight",
        "ap_hi",
        "ap_lo",
        "cholesterol",
        "gluc",
        "smoke",
        "alco",
        "active",
        "bmi",
        "bp_category",
    )

    source: Literal["cardio"] = key(description="The word that selects this source.")
    file: str | None = key(
        None,
        "Name of the CSV below `root`, needed where there are several; the same name with .gz will do.",
        pattern=r"^[^/\\]+$",
    )
    plausible: Plausible = key(Plausible, "Limits outside which a row is dropped.")


class UciHeartSource(TabularSource):
    """UCI heart disease data, the processed files of 14 columns (Janosi, Steinbrunn, Pfisterer, Detrano).

    Names for the prompt: age (years), sex, cp (kind of chest pain), trestbps (resting systolic pressure,
    mmHg), chol (mg/dl), fbs (fasting blood sugar), restecg, thalach (highest heart rate, beats/min),
    exang (yes, no), oldpeak (ST depression, mm), slope, ca (vessels coloured), thal. Disease is present
    where `num` is above 0. `?` and a pressure or cholesterol of 0 are missing values.
    """

    FIELDS: ClassVar[tuple[str, ...]] = (
        "age",
        "sex",
        "cp",
        "trestbps",
        "chol",
        "fbs",
        "restecg",
        "thalach",
        "exang",
        "oldpeak",
        "slope",
        "ca",
        "thal",
    )

    source: Literal["uci_heart"] = key(description="The word that selects this source.")
    sites: tuple[Literal["cleveland", "hungarian", "switzerland", "va"], ...] = key(
        (), "The hospitals to read, from `processed.<site>.data` below `root`; empty: all that are there."
    )


class MedquadComponent(MedquadSource):
    """MedQuAD as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


class MessagesComponent(MessagesSource):
    """A messages file as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


class HuggingfaceComponent(HuggingfaceSource):
    """A hub data set as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


class SyntheticComponent(SyntheticSource):
    """Invented questions as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


class CardioComponent(CardioSource):
    """Cardiovascular check-ups as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


class UciHeartComponent(UciHeartSource):
    """UCI heart disease data as one part of a mixture."""

    take: int | None = key(None, "How many records of this part; all without it.", gt=0, le=1_000_000_000)


Component = Annotated[
    MedquadComponent
    | MessagesComponent
    | HuggingfaceComponent
    | SyntheticComponent
    | CardioComponent
    | UciHeartComponent,
    Field(discriminator="source"),
]


class MixtureSource(SourceSection):
    """Several sources read one after another and shuffled by the split."""

    source: Literal["mixture"] = key(description="The word that selects this source.")
    components: tuple[Component, ...] = key(description="The parts, each a source.", min_length=1)

    def holds_patients(self) -> bool:
        """Return whether any part may."""
        return any(part.holds_patients() for part in self.components)


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
    filter: Filter = key(Filter, "Which records are left out before the split.")


class MedquadData(DataCommon, MedquadSource):
    """MedQuAD and how it is used."""


class MessagesData(DataCommon, MessagesSource):
    """A messages file and how it is used."""


class HuggingfaceData(DataCommon, HuggingfaceSource):
    """A hub data set and how it is used."""


class SyntheticData(DataCommon, SyntheticSource):
    """Invented questions and how they are used."""


class CardioData(DataCommon, CardioSource):
    """Cardiovascular check-ups and how they are used."""


class UciHeartData(DataCommon, UciHeartSource):
    """UCI heart disease data and how they are used."""


class MixtureData(DataCommon, MixtureSource):
    """A mixture of sources and how it is used."""


Data = Annotated[
    MedquadData | MessagesData | HuggingfaceData | SyntheticData | CardioData | UciHeartData | MixtureData,
    Field(discriminator="source"),
]
