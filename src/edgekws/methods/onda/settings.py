"""Settings of OnDA."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgekws.core.errors import did_you_mean
from edgekws.core.settings import Fraction, Name, PathText, PositiveFloat, PositiveInt, Seeds, Settings
from edgekws.corpus.settings import Synthetic, SyntheticWakeWords
from edgekws.models.choices import Backbone
from edgekws.protocol.settings import Statistics

Precision = Literal["float32", "bfloat16"]


class WakeWordCorpus(Settings):
    """The speech that a wake word is listened for in."""

    name: Literal["synthetic", "open", "heysnips", "heysnapdragon"] = Field(
        "synthetic", description="embedded synthetic speech, open wake words of people (or your own), HeySnips (v1 or v2), or "
        "HeySnapdragon with HeySnips' negatives")
    archive: PathText | None = Field(
        None, description="HeySnips: the archive or its folder, which `edgekws corpus register heysnips` pins; open: recordings "
        "of wake words (clone, zip, tar or folder), null fetches Picovoice's by DVC")
    speakers: PathText | None = Field(
        "data/open_wake_words/speakers.csv",
        description="open: table of who said what; null takes it from folders keyword/speaker/file")
    speech: list[PathText] = Field(
        [], description="open: archives or folders of other speech; none fetches LibriSpeech test-clean by DVC")
    noise: PathText | None = Field(
        None, description="archive in GSC's layout whose noise recordings the conditions take; null takes the run's archive")
    keywords: list[str] = Field(
        ["jarvis", "view glass"], min_length=1,
        description="open: wake words that are reported on; settings are chosen on the word computer")
    positives: PathText | None = Field(
        None, description="HeySnapdragon: the folder or archive of the Qualcomm Keyword Speech Dataset")
    synthetic: SyntheticWakeWords = Field(default_factory=SyntheticWakeWords, description="the embedded corpus")
    minimum_positives: PositiveInt | None = Field(
        None, description="wake phrases a user needs; null is 9 of open wake words and 11 of others (the base code: more than "
        "10; HeySnips v1 has at most 10: 9 there)")
    minimum_seconds: Annotated[float, Field(ge=0)] = Field(1.0, description="shorter utterances are left out")
    test_speakers: PositiveInt = Field(20, description="HeySnapdragon: speakers at the list's end who are users")

    @property
    def least(self) -> int:
        """Wake phrases that a user needs."""
        return self.minimum_positives or (9 if self.name == "open" else 11)


class WakeWindows(Settings):
    """One-second windows of an utterance, as MFCC (onda.md, sections 3.1 and 3.3)."""

    stride: PositiveInt = Field(2000, description="samples between windows (0.125 s)")
    crop_step: PositiveInt = Field(400, description="samples between the places tried for the crop of most energy (25 ms)")
    stream_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.7, description="share of the train split that is the unlabelled stream, the same for every user")
    stream_speech: Fraction = Field(
        0.5, description="open: share of the hours of other speech, whole speakers, that is stream; the rest tests")


class Condition(Settings):
    """How utterances sound elsewhere: noise, a room, or both."""

    snr_db: tuple[float, float] | None = Field(
        None, description="range of the ratio of the loudest second to noise, dB; null adds none")
    noises: Literal["testing", "learning"] = Field(
        "testing", description="which half of the noise recordings: that tested with, or that mixed in while learning")
    reverberation: Annotated[float, Field(ge=0)] = Field(
        0.0, description="seconds in which a made room's echoes decay by 60 dB; 0 is no room")


CLEAN = "clean"
"""Name of the condition that changes nothing."""

ANYBODY = "anybody"
"""In place of a speaker: the wake word is one that several people say, and others' takes are tested."""


def _conditions() -> dict[Name, Condition]:
    return {"noise_20": Condition(snr_db=(20, 20)), "noise_10": Condition(snr_db=(10, 10)), "noise_0": Condition(snr_db=(0, 0)),
            "room": Condition(reverberation=0.5), "learning": Condition(snr_db=(0, 15), noises="learning")}


class Pretraining(Settings):
    """Triplet training of the encoder on words (section 2.1; section 6)."""

    words: PathText | None = Field(
        None, description="MSWC English: its folder (clips/, en_train.csv); null takes the words of this run's GSC corpus")
    vocabulary: PositiveInt = Field(500, description="most frequent words taken")
    without: list[str] = Field(["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"],
                               description="words of MSWC left out (GSC's ten commands)")
    episodes: PositiveInt = Field(16_000, description="updates (the authors: 40 epochs of 400)")
    episodes_of: dict[Backbone, PositiveInt] = Field(
        default_factory=dict, description="updates of single encoders, where they are not as many")
    classes: Annotated[int, Field(ge=2)] = Field(80, description="words in an update, at most")
    clips: Annotated[int, Field(ge=2)] = Field(20, description="clips of each word in an update")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's learning rate")
    halvings: Annotated[int, Field(ge=0)] = Field(1, description="how often, evenly spaced, the learning rate is halved")
    margin: PositiveFloat = Field(0.5, description="margin of the triplet loss, in squared distance")
    time_shift: Annotated[int, Field(ge=0)] = Field(1600, description="samples by which a clip is shifted, at most (100 ms)")
    noise: PathText | None = Field(
        None, description="folder of noise recordings (DEMAND: *.wav below it); null makes coloured noise")
    noise_probability: Annotated[float, Field(ge=0, le=1)] = Field(0.95, description="share of the clips that noise is added to")
    snr_db: tuple[float, float] = Field((0.0, 5.0), description="range of the signal-to-noise ratio, dB")
    snr_as_released: bool = Field(
        False, description="the base code's 10**snr / 10 in place of 10**(snr / 10) (its noise is then far weaker)")


PUBLISHED: dict[Backbone, str] = {
    "ds_cnn_s": "DSCNNS.pt", "ds_cnn_m": "DSCNNM.pt", "ds_cnn_l": "DSCNNL.pt", "resnet15": "RESNET15.pt"}
"""The encoders that the base pipeline publishes, by the names of their files."""


class Encoders(Settings):
    """Where the encoders come from that are deployed."""

    source: Literal["trained", "published"] = Field(
        "trained", description="trained by this run (pretraining), or published by the base pipeline (500 words of MSWC)")
    folder: str | None = Field(
        None, description="published: folder with DSCNNS.pt and the others; null fetches them by DVC (data/encoders)")


class Calibration(Settings):
    """From a few recordings of the user: prototype, filter and thresholds (section 2.2)."""

    recordings: PositiveInt = Field(3, description="wake phrases that the user records (K)")
    negatives: PositiveInt = Field(3, description="other utterances beside them")
    filters: list[PositiveInt] = Field([1, 2, 3, 4, 5], min_length=1, description="lengths of the moving average tried, windows")
    low: PositiveFloat = Field(0.4, description="pseudo-positive below prototype distance plus this share of the gap (tau_L)")
    high: PositiveFloat = Field(0.9, description="pseudo-negative above prototype distance plus this share (tau_H)")
    cap: PositiveFloat = Field(0.5, description="the most that the lower threshold lies above the worst positive")
    detection: PositiveFloat = Field(0.3, description="share of the gap of the threshold that a device would use")
    refuse_negative_gap: bool = Field(
        True, description="leave users unadapted whose calibration failed (no gap); the base code goes on")


class FineTuning(Settings):
    """Triplets of pseudo-positive, recording and pseudo-negative (section 2.4)."""

    epochs: PositiveInt = Field(20, description="passes over the pseudo-positives")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's learning rate")
    positives: PositiveInt = Field(20, description="pseudo-positives in a batch; with fewer in all nothing is trained")
    negatives: PositiveInt = Field(120, description="pseudo-negatives in a batch")
    margin: PositiveFloat = Field(0.5, description="margin of the triplet loss")
    skip_first_negative: bool = Field(False, description="the base code leaves the first negative of every batch out")
    most_positives: PositiveInt | None = Field(
        None, description="pseudo-positives kept at most, drawn at random; null keeps all, as the paper does")
    statistics_after: bool = Field(
        False, description="take running statistics anew over the labelled windows afterwards (HAP does, the base does not)")


    more: Annotated[int, Field(ge=2)] = Field(
        4, description="times as many epochs of the control that shows what more updates alone give")


class Robust(Settings):
    """Robust adaptation, ours: look-alikes for negatives, a larger margin, noise mixed in, statistics left alone."""

    updates: PositiveInt = Field(100, description="updates")
    learning_rate: PositiveFloat = Field(1e-3, description="Adam's learning rate; it falls to 0 as a cosine does")
    margin: PositiveFloat = Field(1.0, description="margin of the triplet loss, meant over the triplets that have one")
    positives: PositiveInt = Field(20, description="pseudo-positives in a batch")
    negatives: PositiveInt = Field(60, description="look-alikes in a batch")
    shift: Annotated[int, Field(ge=0)] = Field(1, description="windows by which a pseudo-positive is shifted, at most")
    nearest: PositiveInt = Field(3, description="windows of each pseudo-negative utterance, those nearest to the prototype")
    mine_every: PositiveInt = Field(15, description="updates between searches for the look-alikes that are nearest by now")
    pool: PositiveInt = Field(600, description="look-alikes that such a search takes, drawn at random")
    hardest: Annotated[float, Field(gt=0, le=1)] = Field(0.33, description="share of them that batches are drawn from")
    noise: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="chance that a window has noise mixed in")


class Distillation(Settings):
    """An encoder made smaller on the unlabelled stream, ours: pruned in steps, refitted, and taught by itself."""

    steps: PositiveInt = Field(2, description="steps in which the channels go")
    windows: PositiveInt = Field(3000, description="windows of the stream that it learns from, drawn at random")
    updates: PositiveInt = Field(500, description="updates in all, dealt over the steps")
    batch: PositiveInt = Field(64, description="windows in an update")
    learning_rate: PositiveFloat = Field(4e-3, description="Adam's learning rate; it falls to 0 in each step")
    noise: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="chance that a window has noise mixed in")
    refit_windows: PositiveInt = Field(200, description="windows that layers are fitted to, as they are and with noise")
    refit_places: PositiveInt = Field(40, description="places of each window's map that they are fitted to, at most")


class Pruning(Settings):
    """Which channels go (section 2.5; gaps 1 to 9)."""

    target: Literal["channels", "parameters"] = Field("channels", description="what a ratio is a share of")
    embedding: bool = Field(False, description="prune the embedding too")
    l1: Literal["mean", "sum"] = Field("mean", description="global L1: mean or sum of |w| over a channel's filters")
    residual: Literal["sum", "mean"] = Field("sum", description="scores of the convolutions that share a residual channel")
    hap_trace: Literal["signed", "absolute"] = Field("signed", description="sign of a channel's Hessian trace in the HAP score")
    probes: PositiveInt = Field(50, description="Hutchinson probes in all, dealt over the mini-batches (n_v)")
    batches: PositiveInt = Field(8, description="mini-batches of triplets the Hessian is averaged over (M)")
    least_active: Fraction = Field(0.05, description="with fewer active triplets HAP scores the loss without its hinge")
    largest_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.95, description="share of a layer's channels that may go, at most")
    surplus: Literal["stays", "others"] = Field(
        "stays", description="channels beyond a layer's limit: they stay, as in HAP's code, or other layers' go in their place")
    retrain_episodes: PositiveInt = Field(4000, description="updates of the pre-training recipe after offline pruning")


Schedule = Literal["none", "onda_1", "onda_2", "random_before", "random_after", "l1_before", "hap_after", "hap_wrong_domain",
                   "oracle", "oracle_onda_1", "statistics", "more_updates", "robust", "distilled", "robust_distilled"]

UNPRUNED: set[Schedule] = {"none", "oracle", "statistics", "more_updates", "robust"}
"""These train, or look again, and cut nothing."""

Share = Annotated[float, Field(ge=0, lt=1)]


class OndaExperiment(Settings):
    """One experiment of OnDA: which encoder, pruned when, how and by how much."""

    backbone: Backbone = Field("ds_cnn_l", description="the encoder")
    schedules: list[Schedule] = Field(["none", "onda_1", "onda_2"], min_length=1, description="what is done on the device")
    ratios: list[Fraction] = Field([0.25, 0.5, 0.75], min_length=1, description="shares pruned on the device")
    offline: list[Share] = Field([0.0], min_length=1, description="shares pruned before deployment; 0 is the unpruned encoder")
    users: PositiveInt | None = Field(None, description="users measured, at most; null takes all")
    who: Literal["person", "anybody"] = Field(
        "person", description="open wake words: whose a wake word is. person: one speaker's; anybody: some record it, others are "
        "tested")
    seeds: Seeds | None = Field(None, description="null takes the run's")
    parts: PositiveInt = Field(1, description="jobs that the users are dealt to")
    conditions: list[Name] = Field(
        default_factory=list, description="names of onda.conditions that every encoder is tested in besides the clean one")
    stream: Name = Field(CLEAN, description="condition in which the device hears its stream")
    learning: Name | None = Field(
        None, description="condition that is mixed in while it learns (schedules robust and distilled); null mixes nothing in")
    screening_check: bool = Field(
        True, description="score the encoder as deployed on every window, to see whether screening changes any figure")


_CONTROLS: list[Schedule] = ["none", "onda_1", "onda_2", "random_before", "random_after", "l1_before", "hap_after",
                             "hap_wrong_domain", "oracle", "oracle_onda_1"]


def _onda_experiments() -> dict[Name, OndaExperiment]:
    return {
        "ds_cnn": OndaExperiment(offline=[0.0, 0.25, 0.5], parts=20),
        "resnet": OndaExperiment(backbone="resnet15", offline=[0.0, 0.25, 0.5], parts=20),
        "controls": OndaExperiment(schedules=_CONTROLS, parts=20),
        "stacking": OndaExperiment(backbone="ds_cnn_s", offline=[0.0, 0.25, 0.5]),
    }


class OndaEvaluation(Settings):
    """The rate of false alarms at which accuracy is reported, and how the test set is scanned."""

    false_alarms_per_hour: PositiveFloat = Field(0.5, description="the operating point of the paper's metric")
    curve: list[Annotated[float, Field(ge=0)]] = Field(
        [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], min_length=1, description="false alarms per hour of the DET curve")
    screen_every: PositiveInt = Field(
        1, description="first score every so many windows of a test negative; 1 scores all of them and screens nothing")
    screen_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="share of the test negatives, those nearest to the wake word, whose other windows are scored too")
    told: list[Annotated[float, Field(ge=0)]] = Field(
        [0.5, 2.0, 8.0], min_length=1, description="those of them that tables by condition show")
    slack: Annotated[float, Field(ge=0)] = Field(
        0.5, description="points of accuracy that the second reading of equal accuracy lets go")


class OndaCost(Settings):
    """Time and memory on the machine at hand (gap 15)."""

    backbone: Backbone = Field("ds_cnn_l", description="the encoder measured")
    threads: PositiveInt = Field(2, description="compute threads while the clock runs")
    ratios: list[Fraction] = Field([0.25, 0.5, 0.75], min_length=1, description="shares pruned")
    warm_up: PositiveInt = Field(50, description="inferences before the clock starts")
    inferences: PositiveInt = Field(500, description="inferences of one window, interleaved with the unpruned net's")
    steps: PositiveInt = Field(10, description="training steps timed, interleaved likewise")
    pseudo_positives: PositiveInt = Field(200, description="pseudo-positives of the adaptation whose cost is estimated")


class Rivals(Settings):
    """What a user could take instead, on the users, draws and conditions of some experiments (:mod:`.rivals`)."""

    experiments: list[Name] = Field([], description="the experiments; none measures nothing")
    conditions: list[Name] | None = Field(None, description="some of the experiments' conditions only; null takes all of them")
    engine: bool = Field(True, description="Porcupine 1.9.5 too, for the keywords that it knows")
    sensitivities: PositiveInt = Field(21, description="of the engine, from 0 to 1")
    band: PositiveInt = Field(8, description="frames by which a template may be bent in time")


class HessianCheck(Settings):
    """How good Hutchinson's estimate is, and how stable the ranking of channels."""

    probes: list[PositiveInt] = Field([10, 50, 300], min_length=2, description="numbers of probes compared")
    repetitions: PositiveInt = Field(5, description="rankings made with each")
    backbone: Backbone = Field("ds_cnn_s", description="the encoder whose channels are ranked")


class Personalisation(Settings):
    """What personalising the users of one experiment depends on."""

    experiment: OndaExperiment = Field(default_factory=OndaExperiment)
    calibration: Calibration = Field(default_factory=Calibration)
    finetuning: FineTuning = Field(default_factory=FineTuning)
    robust: Robust = Field(default_factory=Robust)
    distillation: Distillation = Field(default_factory=Distillation)
    pruning: Pruning = Field(default_factory=Pruning)
    precision: Precision = "float32"
    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation)


class OnDA(Settings):
    """All of paper 3 (onda.md)."""

    corpus: WakeWordCorpus = Field(default_factory=WakeWordCorpus, description="the wake-word speech")
    windows: WakeWindows = Field(default_factory=WakeWindows, description="front end")
    conditions: dict[Name, Condition] = Field(default_factory=_conditions, description="noise and rooms, by name")
    encoders: Encoders = Field(default_factory=Encoders, description="which encoders are deployed")
    spoken_words: Synthetic | None = Field(
        None, description="words for pre-training spoken by espeak-ng (fields as of corpus.synthetic); null takes the run's own")
    pretraining: Pretraining = Field(default_factory=Pretraining, description="the encoder before deployment")
    calibration: Calibration = Field(default_factory=Calibration, description="the user's recordings")
    finetuning: FineTuning = Field(default_factory=FineTuning, description="weights on the device")
    robust: Robust = Field(default_factory=Robust, description="weights on the device, our way")
    distillation: Distillation = Field(default_factory=Distillation, description="channels on the device, our way")
    pruning: Pruning = Field(default_factory=Pruning, description="channels on the device, and before")
    precision: Precision = Field(
        "float32", description="of products in embedding and training; bfloat16 is quicker on processors with avx512_bf16")
    experiments: dict[Name, OndaExperiment] = Field(default_factory=_onda_experiments, description="the experiments by name")
    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation, description="operating points")
    cost: OndaCost = Field(default_factory=OndaCost, description="time and memory")
    hessian: HessianCheck = Field(default_factory=HessianCheck, description="check of the Hessian's estimate")
    rivals: Rivals = Field(default_factory=Rivals, description="what a user could take instead")

    def check_for_run(self) -> None:
        """Raises: ValueError if the corpus is a licensed one and no path says where it is."""
        needed = {"heysnips": ("archive",), "heysnapdragon": ("archive", "positives")}.get(self.corpus.name, ())
        if missing := [f"onda.corpus.{name}" for name in needed if not getattr(self.corpus, name)]:
            raise ValueError(f"onda.corpus.name is {self.corpus.name}: set {' and '.join(missing)} to what a licensed person got")
        for name in self.rivals.experiments:
            if name not in self.experiments:
                raise ValueError(f"onda.rivals: there is no experiment '{name}'; {did_you_mean(name, self.experiments)}")
        nets = {self.hessian.backbone, self.cost.backbone, *(experiment.backbone for experiment in self.experiments.values())}
        if self.encoders.source == "published" and (unknown := sorted(nets - PUBLISHED.keys())):
            raise ValueError(f"onda.encoders.source is published, and nobody published {unknown[0]}: take resnet15, or train it")

    @property
    def adapted_as(self) -> str:
        """The experiment after which an adapted encoder is kept as a file. By name: a written-down configuration has its
        experiments in another order.
        """
        return "ds_cnn" if "ds_cnn" in self.experiments else min(self.experiments)


class OndaSummary(Settings):
    """What aggregating an experiment's results depends on."""

    evaluation: OndaEvaluation = Field(default_factory=OndaEvaluation)
    statistics: Statistics = Field(default_factory=Statistics)


SECTION = OnDA
