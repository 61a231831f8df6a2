"""What a result can be asked to reach: one entry a gate, with where its evidence stands and which duty of a framework it answers.

The frameworks are named for orientation: DO-178C (11.21, trace data: every requirement leads to its evidence and back), ISO/PAS
8800:2024 (8 assurance arguments, 9 AI safety requirements, 11 data, 12 verification and validation) and the AI Act,
Regulation (EU) 2024/1689 (articles, and Annex IV, technical documentation). Nothing here claims that any of them is met.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.assurance import measures
from pipeline.assurance.evidence import Shelf
from pipeline.assurance.measures import Measure

Side = Callable[[Shelf], bool]


@dataclass(frozen=True)
class Requirement:
    """One thing that can be asked of a result.

    Attributes:
        gate: its key in conf, under `gates`, and of its waiver.
        says: the requirement, for people.
        means: what the number is, for people.
        least: whether the limit is a lower one; a function where the metric decides.
        measure: finds the evidence; None where it was not measured.
        where: where it was looked for and what it takes, for people.
        mend: what to do when it fails.
        duty: which duty of a framework it answers.
    """

    gate: str
    says: str
    means: str
    least: bool | Side
    measure: Measure
    where: str
    mend: str
    duty: str


ACCURACY = "AI Act 15(1), 15(3), Annex IV 2(g); ISO/PAS 8800 9, 12"
ROBUST = "AI Act 15(4), 15(5); ISO/PAS 8800 12"
UNKNOWN = "AI Act 15(4), Annex IV 3"
TAKES = "certify/certificates.json: it takes a verifier, and gates.eps must be one of certify.radii"
REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "headline", "The model reaches what was asked", "the headline metric",
        measures.higher_is_better, measures.headline, "evaluate/metrics.json", "improve the data or the model", ACCURACY,
    ),
    Requirement(
        "min_gain", "It is ahead of the best simple baseline", "the lead over the best baseline", True,
        measures.gain, "baseline/metrics.json: choose at least one baseline", "ship the baseline, or improve the model",
        "AI Act Annex IV 2(b), 4",
    ),
    Requirement(
        "min_balanced_accuracy", "No class pays for another", "balanced accuracy", True,
        measures.at("evaluate", "metrics.json", "balanced_accuracy"), "evaluate/metrics.json: only a task of classes has it",
        "weigh the classes, or gather more of the rare one", ACCURACY,
    ),
    Requirement(
        "worst_group", "The worst group is served as asked too", "the score of the worst group",
        measures.more_is_better_of_groups, measures.worst_group, "evaluate/groups.json: see evaluate.smallest_group",
        "gather more samples of that group", "AI Act 10(2)(f), Annex IV 3; ISO/PAS 8800 11",
    ),
    Requirement(
        "max_ece", "A stated probability is kept", "the calibration error after temperature scaling", False,
        measures.at("evaluate", "calibration.json", "after", "ece"),
        "evaluate/calibration.json: it takes a task of classes, and samples enough",
        "gather more validation samples, or another recipe (label smoothing, averaging)", "AI Act 13(3)(b), 15(3)",
    ),
    Requirement(
        "min_set_coverage", "Sets hold the truth as often as promised", "the share of truths in their set", True,
        measures.at("evaluate", "conformal.json", "covered"), "evaluate/conformal.json",
        "make validation like the samples in use, or ask calibrate.coverage for more", "AI Act 15(3)",
    ),
    Requirement(
        "min_faithful", "Explanations depend on the model", "the share of explainers that pass their controls",
        True, measures.at("explain", "checks.json", "passed"), "explain/checks.json: choose at least one explainer",
        "leave out explainers that fail", "AI Act 13(1), 14(4)(c), Annex IV 2(e)",
    ),
    Requirement(
        "max_mce", "It stands corruptions like a baseline", "the mean corruption error", False,
        measures.at("robustness", "metrics.json", "mce"), "robustness/metrics.json: it takes robustness.reference",
        "augment with such corruptions, or improve the camera", ROBUST,
    ),
    Requirement(
        "min_attacked", "An adversary inside eps does not win", "accuracy under every attack that was tried", True,
        measures.attacked, TAKES,
        "train with train=adversarial", ROBUST,
    ),
    Requirement(
        "min_certified", "It is proven that no adversary can win", "certified accuracy", True, measures.certified,
        TAKES, "train with train=ibp", ROBUST,
    ),
    Requirement(
        "min_ood_auroc", "Unknown inputs are told from known ones", "AUROC against the worst of the other sets", True,
        measures.at("ood", "metrics.json", "shipped", "auroc"), "ood/metrics.json: it takes a detector that ships",
        "choose another detector", UNKNOWN,
    ),
    Requirement(
        "max_ood_fpr95", "Finding them costs few false alarms", "FPR95 against the worst of the other sets", False,
        measures.at("ood", "metrics.json", "shipped", "fpr95"), "ood/metrics.json: it takes a detector that ships",
        "choose another detector", UNKNOWN,
    ),
    Requirement(
        "max_false_alarm", "Known inputs are rarely called unknown", "the share of test samples called unknown", False,
        measures.at("ood", "metrics.json", "shipped", "false_alarm"), "ood/metrics.json: it takes a detector that ships",
        "make validation like the samples in use, or lower ood.false_alarm", UNKNOWN,
    ),
    Requirement(
        "max_parity", "What ships answers as what was measured", "the largest difference of an exported output", False,
        measures.at("export", "metrics.json", "max_abs_diff"), "export/metrics.json: choose an exporter",
        "choose another exporter or opset", "AI Act Annex IV 2(c), 2(g); ISO/PAS 8800 12",
    ),
    Requirement(
        "max_compression_loss", "The smaller model keeps what it had", "what compression takes off the headline",
        False, measures.compression_loss, "compress/metrics.json: choose a compressor", "ship the exported model", ACCURACY,
    ),
)  # fmt: skip
