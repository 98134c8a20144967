"""Units of work of every rule: how the time of a job grows with the settings and the corpus.

One entry of :data:`RULES` for each rule that has a benchmark. ``units`` is proportional to the time of the job beyond the
start of its process, as far as one formula can be: mostly multiply-accumulates. What a unit costs is measured
(:mod:`edgekws.run.measured`), never written here. ``held`` is memory that grows with the settings, ``written`` what a job
leaves on disk, both in bytes and only where they are large; files that are mapped into memory do not count as held, since
their pages can be given back.

A few constants weigh unlike work inside one formula. They were measured once and only matter where a run of quite another
batch size, encoder or width is reckoned from.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from edgekws.config import Config
from edgekws.corpus.audio import CLIP_SAMPLES, SAMPLE_RATE
from edgekws.methods.alternatives.settings import AlternativeMethod, GradientPart, NetName
from edgekws.methods.neuedge.choices import NeuEdgeArm
from edgekws.methods.onda.settings import OndaExperiment, Schedule
from edgekws.models.choices import Backbone
from edgekws.protocol.settings import Shot, Training
from edgekws.run.sizes import Sizes, synthetic_clips

UPDATE_CLIPS = 50
"""An update of Traces Propagation costs as much as so many clips of its batch: 220 us at 3.8 us a clip with 128 neurons,
650 us at 13.9 us a clip with 450."""
FRONT_END = 30_000_000
"""A clip moved, made noisy and turned into MFCC costs as much as so many multiply-accumulates of an encoder."""
TRACED_CLIP = 10
"""A clip that e-prop or OSTTP learns from, with a trace for each synapse, costs as much as so many of which neurons alone keep
traces: 6 with 128 neurons, 16 with 450."""
PRIVATE_STEP = 15
"""A step of a user under differential privacy costs as much as so many without: 0.74 ms to 0.05 ms with 128 neurons, 1.8 ms to
0.09 ms with 450."""

_FLOAT = 4
_TAR = 1024  # bytes of a member beside its samples, at most: header and padding
_GSC_ARCHIVE = 2_428_923_189  # bytes: data/gsc/README.md
_BACKWARD = 3  # forward and backward together, in forward passes
_SAVED = 4  # maps of a convolution's output that training keeps: before and after normalisation and ReLU, and a gradient
_PROBE = 4  # a Hutchinson probe, in forward passes

At = Mapping[str, str]
"""Wildcards of a job."""
Formula = Callable[[Config, Sizes, At], float]


# ------------------------------------------------------------------------------------------------ Traces Propagation
def tp_frames(config: Config) -> int:
    """Frames of a clip of one second.

    >>> tp_frames(Config())
    101
    """
    return CLIP_SAMPLES // config.traces_propagation.features.hop + 1


def tp_weights(config: Config, words: int) -> int:
    """Trained weights of the spiking network.

    >>> tp_weights(Config(), 35)
    272700
    """
    network = config.traces_propagation.network
    sizes = [3 * config.traces_propagation.features.mels, *network.hidden]
    recurrent = sum(width * width for width in network.hidden) if network.recurrent else 0
    return (sum(before * after for before, after in itertools.pairwise(sizes)) + recurrent
            + network.hidden[-1] * (words + network.spare_outputs))


def tp_training(config: Config, words: int, clips: float, budget: Training) -> float:
    """Training on so many clips: each clip and each update touches every weight at every frame."""
    updates = math.ceil(clips / budget.batch_size)
    return budget.epochs * (clips + UPDATE_CLIPS * updates) * tp_frames(config) * tp_weights(config, words)


def tp_prediction(config: Config, words: int, clips: float) -> float:
    """Answers to so many clips."""
    return clips * tp_frames(config) * tp_weights(config, words) / _BACKWARD


def support_clips(shot: Shot, pool: float, words: int) -> float:
    """Support clips of a shot from a pool: all of it, or so many of each word.

    >>> support_clips("all", 32, 8), support_clips(1, 32, 8), support_clips(5, 32, 8)
    (32, 8, 32)
    """
    return pool if shot == "all" else min(shot * words, pool)


def _tp_base(config: Config, sizes: Sizes, at: At) -> float:
    train = config.traces_propagation.base
    return tp_training(config, sizes.words, sizes.train, train) + tp_prediction(config, sizes.words, sizes.test)


def _tp_tune(config: Config, sizes: Sizes, at: At) -> float:
    tp, pool = config.traces_propagation, _pool(config, sizes)
    grid = tp.tuning
    clips = support_clips(grid.shots, pool, sizes.words)
    tasks = min(grid.users, sizes.validation_users) * min(grid.folds, config.protocol.many_users.folds)
    points = sum(tp_training(config, sizes.words, clips, Training(epochs=epochs, batch_size=size))
                 for epochs in grid.epochs for size in {min(size, math.ceil(clips) or 1) for size in grid.batch_size})
    return tasks * len(grid.learning_rate) * (
        points + len(grid.epochs) * tp_prediction(config, sizes.words, 2 * (sizes.user_clips - pool)))


def _pool(config: Config, sizes: Sizes) -> float:
    """Support pool of a user of the many-users protocol."""
    return sizes.user_clips * (1 - 1 / config.protocol.many_users.folds)


def _tp_adapt(config: Config, sizes: Sizes, at: At) -> float:
    """All users, folds and shots; a tuned budget is taken for the largest of its grid."""
    tp, words = config.traces_propagation, sizes.words
    experiment = tp.experiments[at["experiment"]]
    shots: list[Shot]
    if experiment.plan == "one_user":
        users, folds, shots = 1.0, len(config.protocol.one_user.split_seeds), config.protocol.one_user.shots
        pool = config.protocol.one_user.support_fraction * sizes.one_user_clips
        query = sizes.one_user_clips - pool
    else:
        users = sizes.users - sizes.validation_users if experiment.tuned else sizes.users
        folds, shots, pool = config.protocol.many_users.folds, config.protocol.many_users.shots, _pool(config, sizes)
        query = sizes.user_clips - pool
    budget: Training = getattr(tp.methods, at["method"])
    if experiment.tuned:
        budget = Training(epochs=max(tp.tuning.epochs), batch_size=min(tp.tuning.batch_size))
    total = 0.0
    for shot in experiment.shots or shots:
        training = tp_training(config, words, support_clips(shot, pool, words), budget)
        total += users * folds * (training + tp_prediction(config, words, 2 * query))
        total += users * tp_prediction(config, words, min(tp.others, sizes.test))
    return total


def _tp_held(config: Config, sizes: Sizes, at: At) -> float:
    """A batch of features, and the state of its layers."""
    tp = config.traces_propagation
    clips = min(sizes.train, tp.base.batch_size)
    return _FLOAT * clips * (2 * 3 * tp.features.mels * tp_frames(config) + 12 * sum(tp.network.hidden))


def _tp_features(config: Config, sizes: Sizes, at: At) -> float:
    return _FLOAT * sizes.clips * tp_frames(config) * 3 * config.traces_propagation.features.mels


# ------------------------------------------------------------------------------------------------ NeuEdge
def neuedge_steps(config: Config) -> int:
    """Time steps of a clip.

    >>> neuedge_steps(Config())
    50
    """
    return CLIP_SAMPLES // config.neuedge.features.hop // config.neuedge.features.pool


def neuedge_units(config: Config) -> int:
    """Units of the encoder."""
    return config.neuedge.features.mels * (3 if config.neuedge.encoder.lag else 1)


def neuedge_clip(config: Config, words: int) -> float:
    """One clip through the spiking net.

    >>> neuedge_clip(Config(), 35) == 50 * (120 * 256 + 256 * 256 + 256 * 35)
    True
    """
    sizes = [neuedge_units(config), *config.neuedge.network.hidden, words]
    return neuedge_steps(config) * sum(before * after for before, after in itertools.pairwise(sizes))


def _neuedge_train(config: Config, sizes: Sizes, at: At) -> float:
    return config.neuedge.training.epochs * sizes.train * neuedge_clip(config, sizes.words) * _BACKWARD


def _neuedge_encode(config: Config, sizes: Sizes, at: At) -> float:
    grid = config.neuedge.grid
    points = 1 + len(grid.base_threshold) * len(grid.alpha)
    return points * (grid.epochs * sizes.train * _BACKWARD + sizes.validation) * neuedge_clip(config, sizes.words)


def _loihi_measure(config: Config, sizes: Sizes, at: At) -> float:
    """Clips through the simulated chip: seven variants, two signs of every gain, three rules at every noise ratio."""
    neuedge = config.neuedge
    noisy = min(neuedge.noise.clips, sizes.test)
    clips = (7 + 2 * len(neuedge.adaptive.gamma)) * sizes.test + 3 * (len(neuedge.noise.snr_db) + 1) * noisy
    return clips * neuedge_clip(config, sizes.words)


def _loihi_held(config: Config, sizes: Sizes, at: At) -> float:
    """Features of all test clips, their spikes under every spiking arm, and counts by neuron."""
    neurons = sum(config.neuedge.network.hidden)
    arms = len(get_args(NeuEdgeArm)) - 1
    clip = neuedge_steps(config) * (_FLOAT * config.neuedge.features.mels + arms * neuedge_units(config)) + 16 * neurons
    return sizes.test * clip


def _neuedge_batch(config: Config, sizes: Sizes, at: At) -> float:
    """What training keeps of a batch: currents, potentials, spikes and their gradients at every step."""
    clips = min(config.neuedge.training.batch_size, sizes.train)
    return _FLOAT * clips * neuedge_steps(config) * (3 * neuedge_units(config) + 8 * sum(config.neuedge.network.hidden))


def _neuedge_features(config: Config, sizes: Sizes, at: At) -> float:
    return _FLOAT * sizes.clips * neuedge_steps(config) * config.neuedge.features.mels


def _neuedge_noise(config: Config, sizes: Sizes, at: At) -> float:
    noise = config.neuedge.noise
    return _FLOAT * (len(noise.snr_db) + 1) * min(noise.clips, sizes.test) * neuedge_steps(config) * config.neuedge.features.mels


def _utilisation(config: Config, sizes: Sizes, at: At) -> float:
    hardware = config.neuedge.hardware
    return len(hardware.sweep_chips) * sum(hardware.widths)


# ------------------------------------------------------------------------------------------------ OnDA
@functools.cache
def encoder_work(backbone: Backbone) -> tuple[int, int]:
    """Multiply-accumulates of one window, and numbers in the outputs of its convolutions."""
    import torch

    from edgekws.models import encoder as encoders

    net = encoders.build(backbone).eval()
    outputs: list[int] = []
    hooks = [layer.register_forward_hook(lambda _layer, _given, found: outputs.append(found[0].numel()))
             for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)]
    macs = encoders.multiply_accumulates(net)
    for hook in hooks:
        hook.remove()
    return macs, sum(outputs)


def episode_clips(config: Config, sizes: Sizes) -> int:
    """Clips of one episode of pre-training.

    >>> from edgekws.run.sizes import expected
    >>> episode_clips(Config(), expected(Config()))
    160
    """
    return min(config.onda.pretraining.classes, sizes.pretraining_words) * config.onda.pretraining.clips


def _onda_pretraining(config: Config, sizes: Sizes, backbone: Backbone, episodes: int, left: float = 1.0) -> float:
    """Updates of an encoder of which pruning has left that share of the arithmetic."""
    macs, _ = encoder_work(backbone)
    return episodes * episode_clips(config, sizes) * (_BACKWARD * left * macs + FRONT_END)


def _onda_pretrain(config: Config, sizes: Sizes, at: At) -> float:
    backbone: Backbone = at["backbone"]  # type: ignore[assignment]
    chosen = config.onda.pretraining
    return _onda_pretraining(config, sizes, backbone, chosen.episodes_of.get(backbone, chosen.episodes))


def _onda_prune_offline(config: Config, sizes: Sizes, at: At) -> float:
    backbone: Backbone = at["backbone"]  # type: ignore[assignment]
    left = (1 - float(at["share"]) / 100) ** 2
    return _onda_pretraining(config, sizes, backbone, config.onda.pruning.retrain_episodes, left)


def _onda_pretrain_held(config: Config, sizes: Sizes, at: At) -> float:
    backbone: Backbone = at["backbone"]  # type: ignore[assignment]
    return _FLOAT * episode_clips(config, sizes) * (_SAVED * encoder_work(backbone)[1] + 2 * CLIP_SAMPLES)


def _batch(config: Config) -> int:
    """Windows of a mini-batch of fine-tuning: anchors, recordings, negatives."""
    return config.onda.finetuning.positives + config.onda.calibration.recordings + config.onda.finetuning.negatives


def _probes(config: Config, macs: int, probes: int) -> float:
    """A Hessian trace: every mini-batch forward and back, and its share of the probes."""
    return (_BACKWARD * config.onda.pruning.batches + _PROBE * probes) * _batch(config) * macs


def fine_tuning(config: Config, sizes: Sizes) -> float:
    """Windows that one fine-tuning sends forward and back, in forward passes; all wake words of the stream are found."""
    settings = config.onda.finetuning
    positives = min(sizes.stream_positives, settings.most_positives or math.inf)
    return settings.epochs * (positives // settings.positives) * _batch(config) * _BACKWARD


def scanned_windows(config: Config, sizes: Sizes) -> float:
    """Windows of the test set that scoring an adapted encoder embeds: all, or what screening leaves."""
    chosen, positive = config.onda.evaluation, sizes.user_positives * 20
    share = 1.0 if chosen.screen_every == 1 else min(1.0, 1 / chosen.screen_every + chosen.screen_share)
    return share * sizes.negative_windows + positive


_BEFORE_PRUNING: dict[Schedule, int] = {"onda_1": 1, "oracle_onda_1": 1, "hap_wrong_domain": 1, "hap_after": 1}
"""Hessian traces of a schedule for one user."""


def user_work(config: Config, sizes: Sizes, experiment: OndaExperiment) -> float:
    """Every schedule and ratio for one user, in forward passes of the unpruned encoder; shares of channels left square."""
    scan, tune = scanned_windows(config, sizes), fine_tuning(config, sizes)
    hap = (_BACKWARD * config.onda.pruning.batches + _PROBE * config.onda.pruning.probes) * _batch(config)
    left = sum((1 - ratio) ** 2 for ratio in experiment.ratios)
    total = 0.0
    for schedule in experiment.schedules:
        total += hap * _BEFORE_PRUNING.get(schedule, 0)
        total += (scan + tune) * (1.0 if schedule in ("none", "oracle") else left)
    return total


def _onda_personalise(config: Config, sizes: Sizes, at: At) -> float:
    experiment = config.onda.experiments[at["experiment"]]
    users = min(sizes.wake_users, experiment.users or sizes.wake_users)
    mine = len(range(int(at["part"]), users, experiment.parts))
    if mine == 0:
        return 0.0
    macs, _ = encoder_work(experiment.backbone)
    left = (1 - float(at["share"]) / 100) ** 2
    deployed = sizes.negative_windows + sizes.stream_windows
    return macs * left * (deployed + mine * user_work(config, sizes, experiment))


def _onda_personalise_held(config: Config, sizes: Sizes, at: At) -> float:
    """Distances of all windows from the prototypes of a job's users, and one mini-batch in training."""
    experiment = config.onda.experiments[at["experiment"]]
    users = math.ceil(min(sizes.wake_users, experiment.users or sizes.wake_users) / experiment.parts)
    distances = 3 * _FLOAT * users * (sizes.negative_windows + sizes.stream_windows)
    return distances + _FLOAT * _SAVED * _batch(config) * encoder_work(experiment.backbone)[1]


def _onda_adapt(config: Config, sizes: Sizes, at: At) -> float:
    chosen = config.onda.experiments[config.onda.adapted_as]
    one = chosen.model_copy(update={"schedules": ["onda_1"], "ratios": chosen.ratios[:1]})
    macs, _ = encoder_work(chosen.backbone)
    return macs * (sizes.negative_windows + sizes.stream_windows + user_work(config, sizes, one))


def _onda_hessian(config: Config, sizes: Sizes, at: At) -> float:
    chosen, macs = config.onda.hessian, encoder_work(config.onda.hessian.backbone)[0]
    return chosen.repetitions * sum(_probes(config, macs, probes) for probes in chosen.probes)


def _onda_cost(config: Config, sizes: Sizes, at: At) -> float:
    """Inferences and updates of every net, and the parts of an adaptation; as many nets as ratios, and the unpruned one."""
    cost, macs = config.onda.cost, encoder_work(config.onda.cost.backbone)[0]
    windows = cost.warm_up + cost.inferences + cost.steps * _batch(config) * _BACKWARD
    return (1 + len(cost.ratios)) * windows * macs + _probes(config, macs, config.onda.pruning.probes)


def _onda_summarise(config: Config, sizes: Sizes, at: At) -> float:
    """Rows, each resampled."""
    experiment = config.onda.experiments[at["experiment"]]
    users = min(sizes.wake_users, experiment.users or sizes.wake_users)
    rows = users * len(experiment.offline) * len(experiment.seeds or config.seeds) * (
        1 + sum(1 if schedule in ("none", "oracle") else len(experiment.ratios) for schedule in experiment.schedules))
    return rows * config.statistics.resamples


def _tp_summarise(config: Config, sizes: Sizes, at: At) -> float:
    experiment = config.traces_propagation.experiments[at["experiment"]]
    return len(experiment.methods) * len(config.seeds) * sizes.users * config.statistics.resamples


# ------------------------------------------------------------------------------------------------ alternatives
_PER_SYNAPSE = ("eprop", "eprop_random", "osttp")
_ADDED = ("threshold", "lora", "adapter")  # train other tensors than the net's own: elastic weights do not hold them


def alternatives_learning(config: Config, sizes: Sizes, method: AlternativeMethod, clips: float, epochs: int) -> float:
    """Adapting to so many clips by one method; where the readout alone is trained the rest of the net runs once."""
    once = method.kind == "readout"
    if method.net == "ds_cnn":
        return clips * encoder_work("ds_cnn_s")[0] * (1 if once else epochs * _BACKWARD)
    updates = math.ceil(clips / config.alternatives.training.batch_size)
    counted = clips * (TRACED_CLIP if method.kind in _PER_SYNAPSE else 1) + UPDATE_CLIPS * updates
    return (1 if once else epochs) * counted * tp_frames(config) * tp_weights(config, sizes.words)


def alternatives_asking(config: Config, sizes: Sizes, net: NetName, clips: float) -> float:
    """Answers of a net to so many clips."""
    return clips * encoder_work("ds_cnn_s")[0] if net == "ds_cnn" else tp_prediction(config, sizes.words, clips)


def _test_users(sizes: Sizes, most: int | None) -> int:
    users = sizes.users - sizes.validation_users
    return users if most is None else min(most, users)


def _alternatives_base(config: Config, sizes: Sizes, at: At) -> float:
    return (config.alternatives.ds_cnn.epochs * sizes.train * _BACKWARD + sizes.test) * encoder_work("ds_cnn_s")[0]


def _alternatives_tune(config: Config, sizes: Sizes, at: At) -> float:
    chosen, method, pool = config.alternatives, config.alternatives.methods[at["method"]], _pool(config, sizes)
    tasks = min(chosen.tuning.users, sizes.validation_users) * min(
        chosen.tuning.folds, config.protocol.many_users.folds)
    clips = support_clips(chosen.tuning.shots, pool, sizes.words)
    return tasks * len(chosen.tuning.learning_rate) * (
        alternatives_learning(config, sizes, method, clips, chosen.training.epochs)
        + alternatives_asking(config, sizes, method.net, 2 * (sizes.user_clips - pool)))


def _alternatives_adapt(config: Config, sizes: Sizes, at: At) -> float:
    """Test users, their folds and all shots; other speakers are asked once for each user and shot."""
    chosen, plan, pool = config.alternatives, config.protocol.many_users, _pool(config, sizes)
    method, users = chosen.methods[at["method"]], _test_users(sizes, None)
    folds = min(chosen.folds or plan.folds, plan.folds)
    query = alternatives_asking(config, sizes, method.net, 2 * (sizes.user_clips - pool))
    others = alternatives_asking(config, sizes, method.net, min(chosen.others, sizes.test))
    return sum(users * (folds * (alternatives_learning(config, sizes, method, support_clips(shot, pool, sizes.words),
                                                       chosen.training.epochs) + query) + others)
               for shot in chosen.shots or plan.shots)


def _alternatives_retain(config: Config, sizes: Sizes, at: At) -> float:
    """Every remedy for every user, the Fisher information where it is needed, and users one after another, who learn twice."""
    chosen, settings, pool = config.alternatives, config.alternatives.retention, _pool(config, sizes)
    method, users = chosen.methods[at["method"]], _test_users(sizes, settings.users)

    def learning(clips: float) -> float:
        return alternatives_learning(config, sizes, method, clips, chosen.training.epochs)

    elastic = len(settings.elastic) if method.net == "spiking" and method.kind not in _ADDED else 0
    learnt = (3 + elastic) * learning(pool) + sum(learning(pool + clips) for clips in settings.rehearsal)
    asked = (1 + elastic + len(settings.rehearsal)) * (2 * (sizes.user_clips - pool) + min(chosen.others, sizes.test))
    # A user is asked for the base, for its own net, and again after each user who follows it.
    asked += (2 + (settings.sequence + 1) / 2) * (sizes.user_clips - pool)
    fisher = alternatives_learning(config, sizes, AlternativeMethod(), settings.fisher_clips, 1) if elastic else 0.0
    return users * (learnt + alternatives_asking(config, sizes, method.net, asked)) + fisher


def _alternatives_cost(config: Config, sizes: Sizes, at: At) -> float:
    """Timed turns of every method of the net, and two epochs with every byte counted, spiking nets' again at twice the frames."""
    chosen, pool = config.alternatives, _pool(config, sizes)
    counted = 2 * (3 if at["net"] == "spiking" else 1)
    return sum(alternatives_learning(config, sizes, chosen.methods[name], pool, epochs)
               for name in chosen.compared or chosen.methods if chosen.methods[name].net == at["net"]
               for epochs in (counted, *[chosen.training.epochs] * (chosen.limits.repetitions + 1)))


def _alternatives_limits(config: Config, sizes: Sizes, at: At) -> float:
    """What is measured: two epochs of every method, in batches of each size."""
    limits = config.alternatives.limits
    return 2 * tp_frames(config) * sum(math.ceil(limits.clips / size) for size in limits.batch_sizes)


def federated_steps(users: int, config: Config) -> float:
    """Steps of all private and other federations of a group of users, in steps without privacy."""
    chosen = config.alternatives.federated
    present = min(chosen.users_per_round or users, users)
    return chosen.rounds * chosen.steps * present * (1 + PRIVATE_STEP * len(chosen.noise))


def _alternatives_federate(config: Config, sizes: Sizes, at: At) -> float:
    """Each way of learning at every rate for the validation users; for the test users in the loop and in Flower, and alone."""
    chosen = config.alternatives.federated
    alone = chosen.rounds * chosen.steps
    validators = min(chosen.users or sizes.validation_users, sizes.validation_users)
    testers, folds = _test_users(sizes, chosen.users), min(chosen.folds, config.protocol.many_users.folds)
    starts = 3 + len(chosen.noise)  # the base, all clips in one place, and each federation
    tuning = len(chosen.learning_rates) * (federated_steps(validators, config) + (starts * validators + 1) * alone)
    return tuning + folds * (2 * federated_steps(testers, config) + (starts * testers + 1) * alone)


def _alternatives_held(config: Config, sizes: Sizes, at: At) -> float:
    """A batch of support clips, and what a trace for each synapse or a backward pass keeps of it."""
    method, clips = config.alternatives.methods[at["method"]], min(
        _pool(config, sizes), config.alternatives.training.batch_size)
    if method.net == "ds_cnn":
        return _FLOAT * clips * _SAVED * encoder_work("ds_cnn_s")[1]
    kept = 3 * config.traces_propagation.features.mels * tp_frames(config)
    if method.kind in _PER_SYNAPSE:
        kept += tp_weights(config, sizes.words)
    elif method.kind in get_args(GradientPart):
        kept += 5 * sum(config.traces_propagation.network.hidden) * tp_frames(config)
    return _FLOAT * clips * kept


def _alternatives_summarise(config: Config, sizes: Sizes, at: At) -> float:
    methods = config.alternatives.compared or config.alternatives.methods
    return len(methods) * len(config.seeds) * sizes.users * config.statistics.resamples


def _retention_summarise(config: Config, sizes: Sizes, at: At) -> float:
    settings = config.alternatives.retention
    cells = 1 + len(settings.rehearsal) + len(settings.elastic) + settings.sequence
    return len(settings.methods) * cells * _test_users(sizes, settings.users) * config.statistics.resamples


def _federated_summarise(config: Config, sizes: Sizes, at: At) -> float:
    settings = config.alternatives.federated
    return (4 + 2 * len(settings.noise)) * _test_users(sizes, settings.users) * config.statistics.resamples


# ------------------------------------------------------------------------------------------------ corpora
def _spoken(config: Config, sizes: Sizes, at: At) -> float:
    return sum(synthetic_clips(config.onda.spoken_words)) if config.onda.spoken_words else 0


def _clip_file(clips: float) -> float:
    return clips * (2 * CLIP_SAMPLES + _TAR)


def _once(config: Config, sizes: Sizes, at: At) -> float:
    """Work that is the same in every run."""
    return 1.0


def _clips(config: Config, sizes: Sizes, at: At) -> float:
    return sizes.clips


def _archive(config: Config, sizes: Sizes, at: At) -> float:
    return _GSC_ARCHIVE


# ------------------------------------------------------------------------------------------------ the table
@dataclass(frozen=True)
class Rule:
    """A rule of the workflow.

    Attributes:
        name: As in the workflow.
        paper: The paper it belongs to, or ``shared``.
        output: Its first output, below ``results/<run>/`` unless it begins with ``/`` (the project's folder); wildcards in
            braces.
        benchmark: Its benchmark, below ``results/<run>/benchmarks/``, without ``.tsv``; None where it has none.
        unit: What is counted, in words.
        units: How much of that a job has.
        variant: Wildcard whose values cost unlike amounts for the same units, if there is one.
        held, written: Bytes, see the module.
        gpu: Whether it can use a GPU.
    """

    name: str
    paper: str
    output: str
    benchmark: str | None
    unit: str
    units: Formula
    variant: str | None = None
    held: Formula | None = None
    written: Formula | None = None
    gpu: bool = False


_TP, _NE, _ON, _AL, _SH = "traces_propagation", "neuedge", "onda", "alternatives", "shared"
_MACS = "multiply-accumulates"

RULES: dict[str, Rule] = {rule.name: rule for rule in (
    Rule("synthesise_corpus", _SH, "corpus/synthetic.tar", "synthesise_corpus", "clips", _clips,
         written=lambda config, sizes, at: _clip_file(sizes.clips)),
    Rule("register_archive", _SH, "/data/gsc/given/{archive}", "register_archive/{archive}", "bytes", _archive),
    Rule("fetch_archive", _SH, "/data/gsc/{archive}", "fetch_archive/{archive}", "bytes", _archive, written=_archive),
    Rule("index_corpus", _SH, "corpus/index.parquet", "index_corpus", "clips", _clips),
    Rule("tool_environment", _SH, "/.envs/{tool}", "tool_environment/{tool}", "once", _once, variant="tool"),
    Rule("effective_config", _SH, "config.json", None, "once", _once),
    Rule("rulegraph", _SH, "figures/rulegraph.svg", "rulegraph", "once", _once),
    Rule("claims", _SH, "claims.json", "claims", "once", _once),
    Rule("claims_table", _SH, "tables/{paper}.json", "claims_table/{paper}", "once", _once),
    Rule("report", _SH, "report.html", None, "once", _once),

    Rule("traces_propagation_features", _TP, "features/traces_propagation.npy", "traces_propagation/features", "clips",
         _clips, written=_tp_features),
    Rule("protocol_plan", _TP, "corpus/plan_{protocol}.parquet", "protocol/plan_{protocol}", "clips",
         _clips),
    Rule("traces_propagation_base", _TP, "models/traces_propagation/base_{normalisation}_seed{seed}.safetensors",
         "traces_propagation/base_{normalisation}_seed{seed}", _MACS, _tp_base, held=_tp_held, gpu=True),
    Rule("traces_propagation_tune", _TP, "metrics/traces_propagation/tuning/{method}.json",
         "traces_propagation/tune_{method}", _MACS, _tp_tune, variant="method"),
    Rule("traces_propagation_adapt", _TP, "metrics/traces_propagation/{experiment}/{method}_seed{seed}.json",
         "traces_propagation/{experiment}/{method}_seed{seed}", _MACS, _tp_adapt, variant="method"),
    Rule("traces_propagation_complexity", _TP, "metrics/traces_propagation/complexity.json",
         "traces_propagation/complexity", "once", _once),
    Rule("traces_propagation_summarise", _TP, "metrics/traces_propagation/{experiment}.json",
         "traces_propagation/{experiment}", "values resampled", _tp_summarise),
    Rule("traces_propagation_figures", _TP, "notebooks/traces_propagation.ipynb", "traces_propagation/figures", "once", _once),

    Rule("neuedge_features", _NE, "features/neuedge.npy", "neuedge/features", "clips", _clips, written=_neuedge_features),
    Rule("neuedge_noise", _NE, "features/neuedge_noise.npy", "neuedge/noise", "clips", _clips, written=_neuedge_noise),
    Rule("neuedge_encode", _NE, "metrics/neuedge/encoding.json", "neuedge/encode", _MACS, _neuedge_encode,
         held=_neuedge_batch, gpu=True),
    Rule("neuedge_train", _NE, "models/neuedge/{arm}_seed{seed}.safetensors", "neuedge/{arm}_seed{seed}", _MACS,
         _neuedge_train, variant="arm", held=_neuedge_batch, gpu=True),
    Rule("neuedge_utilisation", _NE, "metrics/neuedge/utilisation.json", "neuedge/utilisation", "neurons mapped", _utilisation),
    Rule("neuedge_export", _NE, "models/neuedge/loihi/{arm}_seed{seed}.safetensors", "neuedge/export_{arm}_seed{seed}",
         "once", _once),
    Rule("neuedge_measure", _NE, "metrics/neuedge/ablation/seed{seed}.json", "neuedge/measure_seed{seed}", _MACS,
         _loihi_measure, held=_loihi_held),
    Rule("neuedge_referee", _NE, "metrics/neuedge/referee.json", "neuedge/referee", "clips",
         lambda config, sizes, at: min(config.neuedge.referee.clips, sizes.test)),
    Rule("neuedge_second_opinion", _NE, "metrics/neuedge/second_opinion.json", "neuedge/second_opinion", "clips",
         lambda config, sizes, at: min(config.neuedge.referee.clips, sizes.test)),
    Rule("neuedge_summarise", _NE, "metrics/neuedge/ablation.json", "neuedge/ablation", "values resampled",
         lambda config, sizes, at: len(config.seeds) * config.statistics.resamples),
    Rule("neuedge_figures", _NE, "notebooks/neuedge.ipynb", "neuedge/figures", "once", _once),

    Rule("synthesise_wake_words", _ON, "corpus/wake_words.tar", "onda/synthesise_wake_words", "seconds of speech",
         lambda config, sizes, at: sizes.wake_seconds, written=lambda config, sizes, at: 2 * SAMPLE_RATE * sizes.wake_seconds),
    Rule("index_wake_words", _ON, "corpus/wake_words.parquet", "onda/index_wake_words", "seconds of speech",
         lambda config, sizes, at: sizes.wake_seconds),
    Rule("onda_features", _ON, "features/onda.npy", "onda/features", "windows",
         lambda config, sizes, at: sizes.negative_windows + sizes.stream_windows,
         written=lambda config, sizes, at: _FLOAT * 470 * (sizes.negative_windows + sizes.stream_windows)),
    Rule("speak_onda_words", _ON, "corpus/onda_words.tar", "onda/speak_words", "clips", _spoken,
         written=lambda config, sizes, at: _clip_file(_spoken(config, sizes, at))),
    Rule("onda_words", _ON, "features/onda_words.npy", "onda/words", "clips",
         lambda config, sizes, at: sizes.pretraining_clips,
         written=lambda config, sizes, at: 2 * CLIP_SAMPLES * sizes.pretraining_clips),
    Rule("onda_pretrain", _ON, "models/onda/{backbone}.safetensors", "onda/pretrain_{backbone}", _MACS, _onda_pretrain,
         variant="backbone", held=_onda_pretrain_held, gpu=True),
    Rule("onda_prune_offline", _ON, "models/onda/{backbone}_offline{share}.safetensors",
         "onda/prune_{backbone}_offline{share}", _MACS, _onda_prune_offline, variant="backbone", held=_onda_pretrain_held,
         gpu=True),
    Rule("onda_personalise", _ON, "metrics/onda/{experiment}/offline{share}_seed{seed}_part{part}.json",
         "onda/{experiment}_offline{share}_part{part}_seed{seed}", _MACS, _onda_personalise, held=_onda_personalise_held),
    Rule("onda_adapt", _ON, "models/onda/adapted.safetensors", "onda/adapted", _MACS, _onda_adapt),
    Rule("onda_hessian", _ON, "metrics/onda/hessian.json", "onda/hessian", _MACS, _onda_hessian),
    Rule("onda_cost", _ON, "metrics/onda/cost.json", "onda/cost", _MACS, _onda_cost),
    Rule("onda_summarise", _ON, "metrics/onda/{experiment}.json", "onda/{experiment}", "values resampled", _onda_summarise),
    Rule("onda_figures", _ON, "notebooks/onda.ipynb", "onda/figures", "once", _once),

    Rule("alternatives_features", _AL, "features/alternatives.npy", "alternatives/features", "clips", _clips,
         written=lambda config, sizes, at: _FLOAT * 470 * sizes.clips),
    Rule("alternatives_base", _AL, "models/alternatives/base_ds_cnn_seed{seed}.safetensors",
         "alternatives/base_ds_cnn_seed{seed}", _MACS, _alternatives_base),
    Rule("alternatives_tune", _AL, "metrics/alternatives/tuning/{method}.json", "alternatives/tune_{method}", _MACS,
         _alternatives_tune, variant="method", held=_alternatives_held),
    Rule("alternatives_adapt", _AL, "metrics/alternatives/adaptation/{method}_seed{seed}.json",
         "alternatives/adaptation/{method}_seed{seed}", _MACS, _alternatives_adapt, variant="method", held=_alternatives_held),
    Rule("alternatives_summarise", _AL, "metrics/alternatives/adaptation.json", "alternatives/adaptation",
         "values resampled", _alternatives_summarise),
    Rule("alternatives_complexity", _AL, "metrics/alternatives/complexity.json", "alternatives/complexity", "once", _once),
    Rule("alternatives_cost", _AL, "metrics/alternatives/cost_{net}.json", "alternatives/cost_{net}", _MACS,
         _alternatives_cost, variant="net"),
    Rule("alternatives_limits", _AL, "metrics/alternatives/limits.json", "alternatives/limits", "frames of a batch",
         _alternatives_limits),
    Rule("alternatives_retain", _AL, "metrics/alternatives/retention/{method}_seed{seed}.json",
         "alternatives/retention/{method}_seed{seed}", _MACS, _alternatives_retain, variant="method", held=_alternatives_held),
    Rule("alternatives_summarise_retention", _AL, "metrics/alternatives/retention.json", "alternatives/retention",
         "values resampled", _retention_summarise),
    Rule("alternatives_federate", _AL, "metrics/alternatives/federated/seed{seed}.json", "alternatives/federated/seed{seed}",
         "steps of a user", _alternatives_federate),
    Rule("alternatives_summarise_federated", _AL, "metrics/alternatives/federated.json", "alternatives/federated",
         "values resampled", _federated_summarise),
    Rule("alternatives_figures", _AL, "notebooks/alternatives.ipynb", "alternatives/figures", "once", _once),
)}

def named(rule: str) -> Rule:
    """A rule of the workflow; one that is not in the table (a method of one's own) is counted, and costs nobody knows what."""
    return RULES.get(rule) or Rule(rule, "other", "", None, "once", _once)


_WILDCARDS = {
    "seed": r"-?\d+", "part": r"\d+", "share": r"\d+(?:\.\d+)?", "method": "[A-Za-z0-9_-]+", "experiment": "[A-Za-z0-9_-]+",
    "protocol": "one_user|many_users", "normalisation": "frozen|per_set", "arm": "|".join(get_args(NeuEdgeArm)),
    "backbone": "|".join(get_args(Backbone)), "net": "|".join(get_args(NetName)), "tool": "[a-z]+", "archive": "[^/]+",
    "paper": "[a-z_]+"}


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile("".join(re.escape(part) if place % 2 == 0 else f"(?P<{part}>{_WILDCARDS[part]})"
                              for place, part in enumerate(parts)))


def wildcards(pattern: str, path: str) -> dict[str, str] | None:
    """Wildcards of a path under a pattern, or None where it does not match.

    >>> wildcards("models/{arm}_seed{seed}.nir", "models/hybrid_seed-3.nir")
    {'arm': 'hybrid', 'seed': '-3'}
    """
    found = _regex(pattern).fullmatch(path)
    return found.groupdict() if found else None


def rule_of_benchmark(path: str) -> tuple[Rule, dict[str, str]] | None:
    """The rule whose benchmark this is (below ``benchmarks/``, without ``.tsv``), and the job's wildcards.

    A name without wildcards comes before a pattern that would take it for one.

    >>> rule_of_benchmark("onda/hessian")[0].name, rule_of_benchmark("onda/ds_cnn")[0].name
    ('onda_hessian', 'onda_summarise')
    """
    candidates: list[tuple[int, Rule, dict[str, Any]]] = []
    for rule in RULES.values():
        if rule.benchmark is not None and (found := wildcards(rule.benchmark, path)) is not None:
            candidates.append((("experiment" in found) + bool(found), rule, found))
    if not candidates:
        return None
    _, rule, found = min(candidates, key=lambda each: each[0])
    return rule, found
