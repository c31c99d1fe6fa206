"""Where ECG images and what is said of them come from, and how they are divided: `data` of a VLM spec."""

from typing import Annotated, Literal

from pydantic import Field

from runner.spec.ecg_image import Render
from runner.spec.section import Section, key
from runner.spec.sources import Filter, SourceSection, Split

LabelSet = Literal["superclasses", "subclasses", "statements", "code15"]
"""Named sets of labels; `converters.records.label_sets` holds what is in them."""

Question = Literal[
    "report", "superclasses", "subclasses", "statements", "code15", "rhythm", "intervals", "verify"
]
"""What is asked about a recording."""

Database = Literal[
    "georgia",
    "ptb-xl",
    "ningbo",
    "chapman_shaoxing",
    "cpsc_2018",
    "cpsc_2018_extra",
    "ptb",
    "st_petersburg_incart",
]
"""Databases of the CinC 2021 challenge, by their folders on PhysioNet."""

BELOW_ROOT = "relative to `data.root`"

# ------------------------------------------------------------------------------------------- the sources


class ImageSource(SourceSection):
    """A source of images: what it is read from lies below `data.root`."""

    def below_root(self) -> tuple[tuple[str, str | None], ...]:
        """Return what must be there, as option and place; None where the option is needed and not given."""
        return ()


class EcgInstructSource(ImageSource):
    """ECGInstruct and ECGBench as published (PULSE, arXiv 2410.19008): one JSON list of conversations, and images.

    All forms that the authors use are read: `conversations` or `conversation`, from/value with human and gpt
    or with user and assistant, lists as values, and question/answer. The image comes first in the first
    question, whatever place its mark `<image>` had.
    """

    source: Literal["ecginstruct"] = key(description="The word that selects this source.")
    path: str = key(description=f"The JSON file, {BELOW_ROOT}.", min_length=1)
    images: tuple[str, ...] = key(
        (),
        f"Where the images lie, {BELOW_ROOT}: folders that hold them at the paths that the rows name, tar files "
        "(`.tar`, `.tar.gz`, `.tgz`), or folders of tar files. The first place that has an image gives it.",
    )
    keep: tuple[str, ...] = key(
        (),
        "Only rows whose image path has one of these folders in it (`ptb-xl`, `mimic_v4`, `code15_v4`); all rows "
        "without it.",
    )
    ptbxl: str | None = key(
        None,
        f"Folder of PTB-XL, {BELOW_ROOT}. Rows about its recordings get patient, fold and labels from it, by the "
        "number in the image's file name.",
        min_length=1,
    )
    missing: Literal["leave_out", "draw"] = key(
        "leave_out",
        "What becomes of a row whose image is not there: it is left out under `data.limits.missing`, or the image "
        "is drawn from the recording in `ptbxl`.",
    )

    def below_root(self) -> tuple[tuple[str, str | None], ...]:
        """Return the JSON file, the places of images and PTB-XL."""
        images = tuple((f"images[{number}]", place) for number, place in enumerate(self.images))
        return (("path", self.path), *images, *_if_given("ptbxl", self.ptbxl))


class FromSignalsSource(ImageSource):
    """Questions and answers made from recordings: pages drawn, answers put into words from codes and intervals."""

    source: Literal["ecg_instruct_from_signals"] = key(description="The word that selects this source.")
    format: Literal["ptbxl", "cinc2021", "synthetic"] = key(
        description="`ptbxl`: PTB-XL with SCP-ECG statements. `cinc2021`: WFDB files of the PhysioNet/CinC "
        "Challenge 2021 with SNOMED CT codes. `synthetic`: invented recordings in several rhythms, for trying things "
        "out."
    )
    folder: str | None = key(
        None, f"Folder of the set, {BELOW_ROOT}; `synthetic` has none, the others need it.", min_length=1
    )
    databases: tuple[Database, ...] = key(
        (), "cinc2021: the databases, by the names of their folders; all that are there without it."
    )
    fs_hz: Literal[100, 500] = key(
        500,
        "Sampling rate: of `ptbxl` which of the two published ones, of `synthetic` the one that is made.",
        unit="Hz",
    )
    records: int | None = key(
        None,
        "Only so many recordings, spread evenly over the set; `synthetic` makes so many, and needs the number.",
        unit="records",
        ge=1,
        le=1_000_000_000,
    )
    questions: tuple[Question, ...] = key(
        ("report", "superclasses", "rhythm", "intervals"),
        "What is asked about each recording. `report`: a report in words. `superclasses` (5), `subclasses` (23), "
        "`statements` (71): which of PTB-XL's labels hold. `code15`: which of CODE-15's six. `rhythm`: its name. "
        "`intervals`: heart rate, PR, QRS and QT, measured in the signal. `verify`: whether one diagnosis is "
        "there, as often yes as no. A question that a recording cannot answer is not asked of it.",
        min_length=1,
    )
    faults_at_most: float = key(
        0.01,
        "Share of the recordings that may be unusable (no partner file, truncated, all-NaN leads, ...). These are "
        "left out, named and counted; more are an error.",
        ge=0,
        lt=1,
    )
    seed: int = key(
        0,
        "Seed of the wording, of the diagnoses that `verify` asks for, and of `synthetic`.",
        ge=0,
        le=2**32 - 1,
    )

    def below_root(self) -> tuple[tuple[str, str | None], ...]:
        """Return the folder of the set; invented recordings have none."""
        return () if self.format == "synthetic" else (("folder", self.folder),)

    def holds_patients(self) -> bool:
        """Return whether the recordings are of patients; invented ones are not."""
        return self.format != "synthetic"


class EcgQaSource(ImageSource):
    """ECG-QA (Oh et al., NeurIPS 2023): questions about recordings of PTB-XL, of which pages are drawn.

    A recording that cannot be drawn is an unusable image, and counts against `data.limits.unusable`.
    """

    source: Literal["ecg_qa"] = key(description="The word that selects this source.")
    folder: str = key(
        description=f"Folder that holds `template` and `paraphrased`, {BELOW_ROOT}.", min_length=1
    )
    ptbxl: str = key(description=f"Folder of PTB-XL, {BELOW_ROOT}.", min_length=1)
    fs_hz: Literal[100, 500] = key(500, "Which of PTB-XL's two sampling rates is drawn.", unit="Hz")
    wording: Literal["template", "paraphrased"] = key("paraphrased", "Which wording of the questions.")
    comparisons: Literal["leave_out", "two_images"] = key(
        "leave_out",
        "What becomes of questions about two recordings: they are left out and counted, or get two images.",
    )

    def below_root(self) -> tuple[tuple[str, str | None], ...]:
        """Return the folders of the questions and of PTB-XL."""
        return (("folder", self.folder), ("ptbxl", self.ptbxl))


class ImageMessagesSource(ImageSource):
    """JSON lines, one record a line: `{"messages": [{"role", "content"}, ...], "images": ["a.png"]}`."""

    source: Literal["messages"] = key(description="The word that selects this source.")
    path: str = key(
        description=f"A .jsonl file, or a folder of them, {BELOW_ROOT}. A record may carry `id`, `group` (the "
        "patient), `split`, `labels` and `reference` beside `messages` and `images`.",
        min_length=1,
    )
    images: tuple[str, ...] = key(
        (".",),
        f"Where the images lie, {BELOW_ROOT}: folders, tar files, or folders of tar files.",
        min_length=1,
    )

    def below_root(self) -> tuple[tuple[str, str | None], ...]:
        """Return the lines and the places of images."""
        return (("path", self.path), *((f"images[{n}]", place) for n, place in enumerate(self.images)))


def _if_given(option: str, place: str | None) -> tuple[tuple[str, str | None], ...]:
    return () if place is None else ((option, place),)


# ------------------------------------------------------------------------------------------- components

StandIn = Annotated[
    EcgInstructSource | FromSignalsSource | EcgQaSource | ImageMessagesSource, Field(discriminator="source")
]


class _InMixture(Section):
    """What a part of a mixture has beside its source."""

    use: bool = key(True, "Whether the part is read; an ablation leaves parts out by it.")
    take: int | None = key(
        None, "How many records of this part; all without it.", unit="records", gt=0, le=1_000_000_000
    )
    stand_ins: tuple[StandIn, ...] = key(
        (),
        "What a rehearsal reads where this part is not at hand: the first of these that is. A run reads the part "
        "itself, or fails.",
    )


class EcgInstructComponent(_InMixture, EcgInstructSource):
    """ECGInstruct as one part of a mixture."""


class FromSignalsComponent(_InMixture, FromSignalsSource):
    """Questions made from recordings as one part of a mixture."""


class EcgQaComponent(_InMixture, EcgQaSource):
    """ECG-QA as one part of a mixture."""


class ImageMessagesComponent(_InMixture, ImageMessagesSource):
    """A file of messages with images as one part of a mixture."""


ImageComponent = Annotated[
    EcgInstructComponent | FromSignalsComponent | EcgQaComponent | ImageMessagesComponent,
    Field(discriminator="source"),
]


class ImageMixtureSource(SourceSection):
    """Several sources, each with a name of its own, one after another and shuffled by the split."""

    source: Literal["mixture"] = key(description="The word that selects this source.")
    components: dict[str, ImageComponent] = key(
        description="The parts by name: `data.components.NAME.use: false` leaves one out.", min_length=1
    )

    def holds_patients(self) -> bool:
        """Return whether any part may, or what a rehearsal reads in its place."""
        parts = self.components.values()
        return any(one.holds_patients() for part in parts for one in (part, *part.stand_ins))


# ----------------------------------------------------------------------------------------------- common


class ImageLimits(Section):
    """Which image files are taken, and how many may be left out. What is left out is counted and named."""

    missing: int = key(
        0,
        "How many images may be missing; their records are left out. One more is an error.",
        ge=0,
        le=1_000_000_000,
    )
    unusable: int = key(
        0,
        "How many image files may be unusable (truncated, no image, CMYK, animated, above `megapixels`); their "
        "records are left out. One more is an error.",
        ge=0,
        le=1_000_000_000,
    )
    megapixels: float = key(
        40.0,
        "Largest image that is opened; a small file can unpack to gigabytes. A page of 11 x 8.5 inches at 200 dpi "
        "has 3.7.",
        unit="million pixels",
        gt=0,
        le=1000,
    )


class VlmDataCommon(Section):
    """What every source of images has in common."""

    root: str = key(
        "",
        "Folder that all places of the sources are relative to; itself relative to the spec. With empty text only "
        "sources without a folder can be read: a rehearsal then takes those among the stand-ins.",
        form="path",
        placeholder=True,
    )
    template: Literal["gemma3", "llama3_2_vision"] = key(
        description="How messages become text, and where in it the image stands: the chat template of this name. "
        "The engine tells answers from questions by it, so the one that comes with a tokenizer is not offered."
    )
    system_prompt: str | None = key(
        None, "A system message put before every record that has none of its own."
    )
    split: Split = key(
        description="How records are divided: `by: group` keeps a patient on one side, `by: given` takes the folds "
        "that the set is published with (PTB-XL: 1-8, 9, 10)."
    )
    patients: Literal["apart", "may_overlap"] = key(
        "apart",
        "`apart`: the same patient on two sides of the split is an error, whatever it is made by. `may_overlap`: "
        "it is counted and said in the manifest.",
    )
    filter: Filter = key(Filter, "Which records are left out before the split.")
    render: Render = key(Render, "How the pages of recordings are drawn.")
    looks: tuple[Render, ...] = key(
        (),
        "Further ways to draw a page. Each recording gets one of `render` and these, settled by its name and the "
        "seed of `render`.",
    )
    limits: ImageLimits = key(ImageLimits, "Which image files are taken, and how many may be left out.")
    workers: int = key(0, "Processes that draw pages; 0: one per core.", unit="processes", ge=0, le=10_000)


class EcgInstructData(VlmDataCommon, EcgInstructSource):
    """ECGInstruct and how it is used."""


class FromSignalsData(VlmDataCommon, FromSignalsSource):
    """Questions made from recordings and how they are used."""


class EcgQaData(VlmDataCommon, EcgQaSource):
    """ECG-QA and how it is used."""


class ImageMessagesData(VlmDataCommon, ImageMessagesSource):
    """A file of messages with images and how it is used."""


class ImageMixtureData(VlmDataCommon, ImageMixtureSource):
    """A mixture of sources and how it is used."""


VlmData = Annotated[
    EcgInstructData | FromSignalsData | EcgQaData | ImageMessagesData | ImageMixtureData,
    Field(discriminator="source"),
]
