"""How a tuned language model is judged: `evaluate` of the spec."""

from typing import Annotated, Literal

from pydantic import Field

from runner.spec.section import Section, key

Ablations = tuple[Literal["blank", "shuffled"], ...]
ASKS = (
    "Only records that ask this (report, superclasses, rhythm, ...), where records about images say what they ask. "
    "Empty: all."
)
ABLATE = (
    "Judge the same records once more with other images: `blank` ones, and those of other records (`shuffled`). "
    "What does not get worse by it was not seen in the image. Needs records with images."
)


class PerplexityTask(Section):
    """Held-out loss over the answer's tokens, perplexity and bits per byte."""

    task: Literal["perplexity"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    batch: int = key(8, "Records per forward pass.", unit="records", ge=1, le=10_000_000)
    ablate: Ablations = key((), ABLATE)


class RougeTask(Section):
    """Written answers, compared with the reference by ROUGE-1, ROUGE-2 and ROUGE-L."""

    task: Literal["rouge"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    batch: int = key(8, "Answers written at a time.", unit="records", ge=1, le=10_000_000)
    max_new_tokens: int = key(
        256, "Longest answer; a longer one is cut, and counted.", unit="tokens", ge=1, le=1_000_000
    )
    temperature: float = key(
        0.0,
        "0 takes the likeliest token each time; above, tokens are drawn from the sharpened chances.",
        ge=0,
        le=1_000,
    )
    top_p: float = key(
        1.0, "Tokens are drawn among the likeliest, so many as hold this probability.", gt=0, le=1
    )
    seed: int = key(
        0,
        "Seed of the drawing; each record has its own generator, made of it and its id.",
        ge=0,
        le=2**32 - 1,
    )
    stemmer: bool = key(
        description="Whether words are stemmed (Porter) before they are compared. It raises the scores, so "
        "two numbers made differently do not compare."
    )
    floors: tuple[Literal["repeat_question", "nearest_question"], ...] = key(
        ("repeat_question", "nearest_question"),
        "Answers that need no model, judged in the same way: the question itself, and the answer of the "
        "training question that is nearest by TF-IDF.",
    )
    ablate: Ablations = key((), ABLATE)


class ClassificationTask(Section):
    """One of a few answers: scored by its likelihood, or written and read."""

    task: Literal["classification"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    batch: int = key(8, "Records per forward pass.", unit="records", ge=1, le=10_000_000)
    labels: dict[str, tuple[str, ...]] = key(
        description="Label -> the words that stand for it in a written answer. The first word is the answer "
        "that training uses, and whose likelihood is the label's score. Two labels or more.",
    )
    positive: str = key(
        description="The label whose precision, recall, F1, AUC and calibration are reported.", min_length=1
    )
    scoring: tuple[Literal["likelihood", "generation"], ...] = key(
        ("likelihood",),
        "How a label is found: `likelihood` compares the labels' chances at the place of the answer; "
        "`generation` lets the model write, and looks for the words. Both may be asked for.",
        min_length=1,
    )
    normalise: Literal["none", "token", "byte"] = key(
        "token",
        "What a label's log likelihood is divided by before labels are compared: nothing, the tokens of its first word, or "
        "its bytes. It decides where labels differ in length: undivided, a longer one is the less likely for it, as in "
        "lm-eval's `acc`; divided by bytes is lm-eval's `acc_norm` for ASCII. The accuracy in another way stands beside.",
    )
    max_new_tokens: int = key(8, "Longest written answer.", unit="tokens", ge=1, le=1_000_000)
    subgroups: tuple[str, ...] = key(
        (), "Attributes of the records (sex, age_band) by whose values the results are also shown."
    )
    floors: tuple[Literal["majority", "one_rule", "logistic_regression", "gradient_boosting"], ...] = key(
        ("majority",),
        "Classifiers without a language model, fitted on the training records' features and judged in the "
        "same way.",
    )
    calibration_bins: int = key(10, "Bins of the calibration error and its table.", ge=2, le=100)
    temperature_scaling: bool = key(
        False,
        "Fit one temperature for the likelihoods on the validation records, and also report the "
        "calibration with it.",
    )
    ablate: Ablations = key((), ABLATE)


LabelSetName = Literal["superclasses", "subclasses", "statements", "code15", "cpsc2018"]


class MultilabelTask(Section):
    """Abnormality detection: any number of labels a record, by their likelihoods, or read from written answers."""

    task: Literal["multilabel"] = key(description="The word that selects this task.")
    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    asks: tuple[str, ...] = key((), ASKS)
    batch: int = key(8, "Records per forward pass.", unit="records", ge=1, le=10_000_000)
    label_set: LabelSetName = key(
        description="Which labels: PTB-XL's 5 superclasses, 23 subclasses or all 71 statements, CODE-15's six, the "
        "nine of CPSC 2018. The records carry them under this name in `labels`.",
    )
    scoring: tuple[Literal["likelihood", "generation"], ...] = key(
        ("generation",),
        "How labels are found: `generation` lets the model write and reads the labels that are named and not "
        "denied; `likelihood` compares chances, and alone gives a true AUC. Both may be asked for.",
        min_length=1,
    )
    ask: Literal["each", "record"] = key(
        "each",
        "What a likelihood is of. `each`: yes against no, after `question` about every label. `record`: the label "
        "as the answer to the record's own question, written as such records answer: the abbreviation to a question "
        "about the set, `Sinus bradycardia.` to one about the rhythm, its name to any other.",
    )
    question: str = key(
        "Does this ECG show {label}? Answer yes or no.",
        "What is asked about each label; `{label}` becomes its name.",
        pattern=r"\{label\}",
    )
    prompt: str | None = key(
        None,
        "What is asked instead of each record's own question, for written answers and with ask: record; `{labels}` "
        "becomes the names of all labels. Where no record's own question is asked, each image is judged once.",
        min_length=1,
    )
    labels_at_once: int = key(
        16,
        "Labels of one record per forward pass behind its image; more take more memory.",
        unit="labels",
        ge=1,
        le=100_000,
    )
    max_new_tokens: int = key(64, "Longest written answer.", unit="tokens", ge=1, le=1_000_000)
    thresholds: Literal["validation", "half"] = key(
        "validation",
        "From likelihoods to decisions: the threshold of each label with the highest F-beta on the validation "
        "records, or where yes and no are equally likely.",
    )
    beta: float = key(1.0, "Of the F-beta by which thresholds are chosen.", gt=0, le=1_000)
    calibration_bins: int = key(10, "Bins of the calibration error and its table.", ge=2, le=100)
    subgroups: tuple[str, ...] = key(
        (), "Attributes of the records (sex, age_band) by whose values the results are also shown."
    )
    ablate: Ablations = key((), ABLATE)


class LmEvalTask(Section):
    """Tasks of lm-eval, run in our process on the model that is loaded anyway."""

    task: Literal["lm_eval"] = key(description="The word that selects this task.")
    tasks: tuple[str, ...] = key(
        description="Names of lm-eval's tasks, groups or tags (mmlu_anatomy, mmlu_medical, multimedqa), or of "
        "those below `include`. Several are averaged, over questions and over tasks.",
        min_length=1,
    )
    few_shot: int | None = key(
        None,
        "Answered examples before each question; without it as many as the task itself says.",
        ge=0,
        le=1_000,
    )
    limit: int | None = key(
        None, "Only the first so many questions of each task.", unit="questions", gt=0, le=1_000_000_000
    )
    batch: int = key(8, "Requests per forward pass.", unit="requests", ge=1, le=10_000_000)
    chat_template: bool = key(
        False, "Put questions into the chat template of `data.template`, examples as turns of their own."
    )
    seed: int = key(
        1234, "Seed of the choice of examples, and of what is drawn while generating.", ge=0, le=2**32 - 1
    )
    data: str | None = key(
        None,
        "Folder in which the questions lie, so that no network is needed: for MMLU the published CSV files "
        "(`dev/`, `test/`); for a task with files of its own the folder that they are relative to; for any "
        "other a clone of its hub repository, under its id. Null or empty: from the hub.",
        form="path",
        placeholder=True,
    )
    include: str | None = key(
        None,
        "Folder of your own task files. A file that would run code (`!function`, a metric or a data set that is a "
        "program) or include another from outside the folder is refused; templates are rendered in a sandbox.",
        form="path",
        placeholder=True,
    )
    questions: Literal["real", "invented"] = key(
        "real",
        "`invented`: a few made-up questions in a task's own form where `data` names none, as a rehearsal "
        "takes them; the result then says nothing.",
    )


class WrittenTask(Section):
    """What a task says about the answers that it lets the model write."""

    split: Literal["validation", "test"] = key("test", "Which records are judged.")
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    asks: tuple[str, ...] = key((), ASKS)
    batch: int = key(8, "Answers written at a time.", unit="records", ge=1, le=10_000_000)
    max_new_tokens: int = key(
        256, "Longest answer; a longer one is cut, and counted.", unit="tokens", ge=1, le=1_000_000
    )
    temperature: float = key(
        0.0,
        "0 takes the likeliest token each time; above, tokens are drawn from the sharpened chances.",
        ge=0,
        le=1_000,
    )
    top_p: float = key(
        1.0, "Tokens are drawn among the likeliest, so many as hold this probability.", gt=0, le=1
    )
    seed: int = key(
        0,
        "Seed of the drawing; each record has its own generator, made of it and its id.",
        ge=0,
        le=2**32 - 1,
    )
    ablate: Ablations = key((), ABLATE)


class EntitiesTask(WrittenTask):
    """Written answers, compared with the reference by the clinical findings that they affirm and deny."""

    task: Literal["entities"] = key(description="The word that selects this task.")


class Grader(Section):
    """A language model behind an endpoint that grades written answers; it is given text only, no image."""

    endpoint: str = key(
        description="Base address of an OpenAI-compatible chat API (`http://127.0.0.1:8000/v1`), or `rehearsal` "
        "for a stand-in on this machine whose grades mean nothing.",
        pattern=r"^(rehearsal|https?://[^\s/?#@]+(/[^\s?#@]*)?)$",
    )
    model: str = key(description="Name of the judging model, as the endpoint knows it.", min_length=1)
    allow_text_to_leave: bool = key(
        False,
        "Agree that answers and references are sent to another machine. Without it only an endpoint on this "
        "machine is asked.",
    )
    key_variable: str | None = key(
        None,
        "Name of the environment variable that holds the endpoint's key. Never the key itself.",
        pattern=r"^[A-Z_][A-Z0-9_]{0,63}$",
    )
    judge_temperature: float = key(
        0.0, "Temperature of the judge; 0 for grades that can be repeated.", ge=0, le=100
    )
    max_reply_tokens: int = key(512, "Longest answer of the judge.", unit="tokens", ge=16, le=1_000_000)
    reply_format: Literal["json_schema", "json_object", "text"] = key(
        "json_schema",
        "How the endpoint is asked for JSON. Every answer is checked in the same way, whatever is asked.",
    )
    timeout_s: float = key(60.0, "Time for one attempt.", unit="s", gt=0, le=86_400)
    retries: int = key(4, "Attempts after the first, with growing waits between them.", ge=0, le=20)
    concurrency: int = key(4, "Questions on their way at a time.", ge=1, le=64)
    cache: str | None = key(
        None,
        "Folder of the judge's answers, to be shared between runs; without it the run's own. It holds what "
        "the judge said, not the records.",
        form="path",
    )


class JudgeTask(Grader, WrittenTask):
    """Written answers, graded by a language model behind an endpoint; it is given text only, no image."""

    task: Literal["judge"] = key(description="The word that selects this task.")
    rubric: Literal["ecg_report_100", "pulse_report_10", "pulse_arena_10"] = key(
        description="What is graded: four criteria from 0 to 100, PULSE's three aspects of a report from 0 to 10, or "
        "its three of an answer in ECG Arena. Their scores do not compare."
    )


class EcgBenchTask(Section):
    """One set of ECGBench (PULSE): a scorer that reads answers rightly, and beside it the published one."""

    task: Literal["ecgbench"] = key(description="The word that selects this task.")
    set: Literal["ptbxl_super", "ptbxl_report", "code15", "ecg_qa", "cpsc", "csn", "g12", "mmmu", "arena"] = (
        key(
            description="Which set. Labels: ptbxl_super, code15, cpsc. Options: ecg_qa (all that apply), csn and g12 (one "
            "of eight), mmmu (one of four). Reports: ptbxl_report and arena, by the findings shared with the reference, and "
            "with `judge` also by grades, as published."
        )
    )
    split: Literal["validation", "test"] = key(
        "test", "Which of the run's own records are judged where no `file` is given."
    )
    file: str | None = key(
        None,
        "The set's JSON file in any of its published forms. Without it the run's own records are judged.",
        form="path",
        placeholder=True,
    )
    images: str | None = key(
        None,
        "What the file's image names are relative to: a folder, which may hold tar files, or a tar file. Without it the "
        "folder of the file.",
        form="path",
        placeholder=True,
    )
    records: int | None = key(None, "Only the first so many records.", unit="records", gt=0, le=1_000_000_000)
    batch: int = key(8, "Answers written at a time.", unit="records", ge=1, le=10_000_000)
    max_new_tokens: int = key(
        256,
        "Longest answer; PULSE lets its model write 1024 tokens.",
        unit="tokens",
        ge=1,
        le=1_000_000,
    )
    items: Literal["real", "invented"] = key(
        "real",
        "`invented`: questions in the set's form about the run's own images where a `file` is named, as a rehearsal "
        "takes them; the result then says nothing.",
    )
    compat: tuple[Literal["pulse"], ...] = key(
        ("pulse",),
        "Also score as published, with its faults, under names that begin with `pulse_`. Empty: not.",
    )
    overlap: Literal["count", "refuse"] = key(
        "count",
        "What becomes of items of `file` that show a recording of the training records, or another one of a patient of "
        "theirs. `count`: they are judged, and counted beside the result. `refuse`: they are an error before the first "
        "answer. Whose recording an item shows is not always known; how many these are is said.",
    )
    judge: Grader | None = key(
        None,
        "Reports: who grades the answers to the items of `file`, by the set's published aspects (`pulse_report_10`, "
        "`pulse_arena_10`). Invented items are graded by the stand-in of a rehearsal, whatever stands here.",
    )
    ablate: Ablations = key((), ABLATE)


Task = Annotated[
    PerplexityTask
    | RougeTask
    | ClassificationTask
    | MultilabelTask
    | EcgBenchTask
    | LmEvalTask
    | EntitiesTask
    | JudgeTask,
    Field(discriminator="task"),
]
