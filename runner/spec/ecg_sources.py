"""Where recordings come from, what is done to their signals, and who is on which side: `data` of an ECG spec."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from runner.spec.section import Section, key

Fold = Annotated[int, Field(ge=0, le=1_000_000)]

Lead = Literal["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
Unlabelled = Literal["leave_out", "keep"]

# -------------------------------------------------------------------------------------------- pipeline


class FilterStep(Section):
    """Butterworth band-pass, forward and backward, at each recording's own sampling rate."""

    step: Literal["filter"] = key(description="The word that selects this step.")
    low_hz: float = key(description="Lower edge of the band.", unit="Hz", gt=0, le=1_000_000)
    high_hz: float = key(description="Upper edge of the band.", unit="Hz", gt=0, le=1_000_000)
    order: int = key(3, "Order of the filter.", ge=1, le=10)


class StandardiseStep(Section):
    """Mean 0 and standard deviation 1 over time, of each lead of each recording; a flat lead becomes 0."""

    step: Literal["standardise"] = key(description="The word that selects this step.")


class ResampleStep(Section):
    """Another sampling rate, by a polyphase filter."""

    step: Literal["resample"] = key(description="The word that selects this step.")
    fs_hz: float = key(description="The sampling rate after it.", unit="Hz", gt=0, le=1_000_000)


class PadOrCropStep(Section):
    """A fixed number of time points: zeros after the end, or a cut."""

    step: Literal["pad_or_crop"] = key(description="The word that selects this step.")
    samples: int = key(description="Time points after it.", unit="samples", ge=1, le=100_000_000)
    keep: Literal["start", "middle", "end"] = key("start", "What a longer recording is cut to.")


PipelineStep = Annotated[
    FilterStep | StandardiseStep | ResampleStep | PadOrCropStep, Field(discriminator="step")
]

# ----------------------------------------------------------------------------------------------- split


class Folds(Section):
    """Which published folds are on which side."""

    train: tuple[Fold, ...] = key((1, 2, 3, 4, 5, 6, 7, 8), "Folds for training.", min_length=1)
    validation: tuple[Fold, ...] = key((9,), "Folds for validation.", min_length=1)
    test: tuple[Fold, ...] = key((10,), "Folds for the final evaluation.", min_length=1)


class EcgSplit(Section):
    """Who is trained on, who chooses the epoch and the thresholds, and who is tested on."""

    by: Literal["patient", "fold", "record"] = key(
        description="`patient`: iterative stratification in which a patient is never on two sides. `fold`: the "
        "folds that the set is published with. `record`: each recording alone, as the published fusion code "
        "does it; a patient can then stand on two sides, and the run says so."
    )
    train: float | None = key(None, "Share of the patients for training.", gt=0, lt=1)
    validation: float | None = key(None, "Share of the patients for validation.", gt=0, lt=1)
    test: float | None = key(None, "Share of the patients for the final evaluation.", gt=0, lt=1)
    folds: Folds = key(Folds, "The published folds on each side, with `by: fold`.")
    finetune_label_ratio: float | None = key(
        None,
        "The share that has labels to learn from. With `patient` and `record`, in place of the three shares: "
        "of this share 80 % trains and 20 % validates, and all the rest is the test (0.1: 8 / 2 / 90 %). With "
        "`fold`: the share of the training folds' patients that is kept.",
        gt=0,
        le=1,
    )
    seed: int = key(18, "Seed of the split; a generator of its own.", ge=0, le=2**32 - 1)


# --------------------------------------------------------------------------------------------- sources


class EcgDataCommon(Section):
    """What every source of recordings has in common."""

    HOLDS_PATIENTS: ClassVar[bool] = True
    """Whether a recording may be of a patient; so it is unless a source knows better."""

    pipeline: tuple[PipelineStep, ...] = key(
        description="What is done to each signal in mV, in this order, before it is stored. All recordings must "
        "come out with one length and one sampling rate.",
        min_length=1,
    )
    split: EcgSplit = key(description="How recordings are divided.")
    classes: tuple[str, ...] | None = key(
        None, "Only these classes of the source, in this order; all of them without it.", min_length=1
    )
    faults_at_most: float = key(
        0.01,
        "Share of the recordings that may be unusable (no partner file, truncated, all-NaN leads, ...). These are "
        "left out, named and counted; more are an error.",
        ge=0,
        lt=1,
    )
    classes_without_positives: int = key(
        0,
        "How many classes may have no positive in training. Such a class cannot be learnt; it is named in the "
        "results.",
        unit="classes",
        ge=0,
        le=1_000_000,
    )
    workers: int = key(
        0, "Processes that read recordings; 0: one per core.", unit="processes", ge=0, le=10_000
    )

    def holds_patients(self) -> bool:
        """Return whether a recording may be of a patient: a page then shows none unless it is told to."""
        return self.HOLDS_PATIENTS


class FolderOfRecords(EcgDataCommon):
    """A source that is read from a folder."""

    root: str = key(
        description="Folder of the set, relative to the spec. Empty text: none is given; then only a rehearsal "
        "runs, on invented recordings.",
        form="path",
        placeholder=True,
    )
    records: int | None = key(
        None,
        "Only so many recordings, spread evenly over the set in its order.",
        unit="records",
        ge=10,
        le=1_000_000_000,
    )


class Cinc2021Data(FolderOfRecords):
    """PhysioNet/CinC Challenge 2021: WFDB files with SNOMED CT codes in the header."""

    source: Literal["cinc2021"] = key(description="The word that selects this source.")
    databases: tuple[
        Literal[
            "georgia",
            "ptb-xl",
            "ningbo",
            "chapman_shaoxing",
            "cpsc_2018",
            "cpsc_2018_extra",
            "ptb",
            "st_petersburg_incart",
        ],
        ...,
    ] = key(description="The databases, by their folders on PhysioNet.", min_length=1)
    merge_equivalents: bool = key(
        False,
        "Take the four pairs of codes that the challenge scores as one (CLBBB and LBBB, CRBBB and RBBB, PAC and "
        "SVPB, PVC and VPB) as one class. Published results of this method have them apart.",
    )
    more_than: int = key(
        200,
        "A scored code is a class where its published count in the databases is above this.",
        unit="records",
        ge=0,
        le=1_000_000_000,
    )
    unknown_codes: Literal["leave_out", "ignore"] = key(
        "leave_out",
        "What becomes of a recording with a code that no table of the challenge has: it counts as faulty, or the "
        "code alone is passed over.",
    )
    unlabelled: Unlabelled = key("leave_out", "What becomes of a recording with none of the classes.")
    fill_at_most: float = key(
        0.0, "Share of a lead's samples that may be missing, and is filled in.", ge=0, lt=1
    )


class PtbxlData(FolderOfRecords):
    """PTB-XL as PhysioNet publishes it: SCP-ECG statements, folds and patients."""

    source: Literal["ptbxl"] = key(description="The word that selects this source.")
    task: Literal["all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"] = key(
        description="Which statements are classes (Strodthoff et al. 2020)."
    )
    fs_hz: Literal[100, 500] = key(description="Which of the two published sampling rates.", unit="Hz")
    likelihood_at_least: float = key(
        0.0, "A statement with a lower known likelihood does not count.", unit="%", ge=0, le=100
    )
    unknown_likelihood: Literal["counts", "is_absent"] = key(
        "counts", "What a statement with likelihood 0, which stands for unknown, is."
    )
    unlabelled: Unlabelled = key("leave_out", "What becomes of a recording with none of the classes.")
    fill_at_most: float = key(
        0.0, "Share of a lead's samples that may be missing, and is filled in.", ge=0, lt=1
    )


class Code15Data(FolderOfRecords):
    """CODE-15 %: HDF5 parts and exams.csv (Zenodo 4916206); six labels, 400 Hz."""

    source: Literal["code15"] = key(description="The word that selects this source.")
    parts: tuple[str, ...] | None = key(
        None, "Names of the HDF5 files to read; all that exams.csv names without it.", min_length=1
    )
    unlabelled: Unlabelled = key(
        "keep", "What becomes of exams with none of the six labels, nine in ten: they are the negatives."
    )
    unit_mv: float = key(1.0, "Millivolts that a stored 1 stands for.", unit="mV", gt=0, le=1_000_000)


class SphData(FolderOfRecords):
    """SPH, Shandong Provincial Hospital: HDF5 files and metadata.csv with AHA statements; 500 Hz."""

    source: Literal["sph"] = key(description="The word that selects this source.")
    unlabelled: Unlabelled = key("leave_out", "What becomes of a recording with none of the classes.")


class ArraysData(FolderOfRecords):
    """Your own recordings: `.npy` or `.csv` signal files, and a table with a row for each."""

    source: Literal["arrays"] = key(description="The word that selects this source.")
    table: str = key(
        "records.csv",
        "The table in `root`, with the columns `id` and `file` and, where known, `patient`, `age`, `sex`, "
        "`site`, `fold`, `row`, `fs_hz`.",
        pattern=r"^[^/\\]+$",
    )
    label_columns: tuple[str, ...] = key(
        (), "Columns of the table with 0 or 1; without any, the column `labels` with names between `;`."
    )
    fs_hz: float | None = key(
        None,
        "Sampling rate of all; without it the column `fs_hz` says it of each.",
        unit="Hz",
        gt=0,
        le=1_000_000,
    )
    unit: Literal["V", "mV", "uV"] = key("mV", "Unit of the stored numbers.")
    axes: Literal["lead_time", "time_lead"] = key("lead_time", "Order of the axes in `.npy` files.")
    file_leads: tuple[Lead, ...] = key(
        ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"),
        "Leads of the `.npy` files in their order; a `.csv` names its own.",
        min_length=1,
    )
    unlabelled: Unlabelled = key("keep", "What becomes of a recording with none of the classes.")
    fill_at_most: float = key(
        0.0, "Share of a lead's samples that may be missing, and is filled in.", ge=0, lt=1
    )


class SyntheticEcgData(EcgDataCommon):
    """Invented 12-lead recordings whose labels can be seen in the signal: for trying things out, not for medicine."""

    HOLDS_PATIENTS: ClassVar[bool] = False

    source: Literal["synthetic_ecg"] = key(description="The word that selects this source.")
    records: int = key(description="How many recordings are generated.", unit="records", ge=10, le=10_000_000)
    fs_hz: float = key(100.0, "Sampling rate.", unit="Hz", ge=50, le=1_000_000)
    seconds: float = key(10.0, "Length of each recording.", unit="s", ge=2, le=600)
    noise_mv: float = key(0.03, "Standard deviation of the noise.", unit="mV", ge=0, le=1_000)
    seed: int = key(0, "Seed of the generator.", ge=0, le=2**32 - 1)


EcgData = Annotated[
    Cinc2021Data | PtbxlData | Code15Data | SphData | ArraysData | SyntheticEcgData,
    Field(discriminator="source"),
]
