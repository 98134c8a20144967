"""What a device does and takes: the same bits everywhere, memory of nets of several widths, what fits a budget.

Everything is built, linked and run; where a target cannot be run here its place says why.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from edgekws.core.environments import NotRun
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.core.provenance import derive_seed
from edgekws.corpus.index import iter_clips
from edgekws.embedded import compiler, image, run
from edgekws.embedded.compiler import Target
from edgekws.embedded.run import Job, Outcome
from edgekws.features import logmel
from edgekws.features.settings import Features
from edgekws.methods.alternatives.memory import Method, Sizes, formula
from edgekws.methods.alternatives.settings import Device
from edgekws.methods.traces_propagation import training
from edgekws.methods.traces_propagation.experiments import Base, fresh_net
from edgekws.protocol.settings import Training
from edgekws.protocol.tasks import tasks

KIB = 1024
MEASURED: Target = "cortex-m4"
"""Where memory and instructions are counted."""

ARENA = ("parameters", "gradients", "optimiser", "traces", "activations", "batch", "reservoir", "temporary", "arena")
"""What the bytes of an arena are for, and all of them."""

OPTIMISERS: tuple[Literal["adam", "sgd"], ...] = ("adam", "sgd")
RULES: tuple[Literal["traces", "bptt"], ...] = ("traces", "bptt")

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True)
class User:
    """A user's clips and the numbers of their words."""

    name: str
    support: list[Samples]
    support_words: list[int]
    query: list[Samples]
    query_words: list[int]

    def job(self, budget: Training, seed: int, **options: Any) -> Job:
        """Learn all support clips in one batch, as `personalise` does."""
        return Job(list(zip(self.support_words, self.support, strict=True)), self.query, epochs=budget.epochs,
                   rate=budget.learning_rate, seed=seed, **options)

    def correct(self, predicted: Sequence[int]) -> int:
        """How many of the query clips are right."""
        return int((np.array(predicted) == np.array(self.query_words)).sum())


def read_users(archive: Path, index: pd.DataFrame, plan: pd.DataFrame, facts: dict[str, Any], vocabulary: Sequence[str],
               number: int) -> list[User]:
    """The first users of a plan, with all support clips of their first fold.

    Raises:
        UserError: The archive is not the index's.
    """
    words = index.set_index("clip").word
    chosen = tasks(plan, facts, words, shots=["all"], users=number, folds=1)
    wanted = {row for task in chosen for row in (*task.support, *task.query)}
    audio = dict(iter_clips(archive, index[index["clip"].isin(wanted)]))
    label = {word: place for place, word in enumerate(vocabulary)}
    return [User(task.user, [audio[row] for row in task.support], [label[words[row]] for row in task.support],
                 [audio[row] for row in task.query], [label[words[row]] for row in task.query]) for task in chosen]


class Bench:
    """Builds and runs jobs; programs are kept in a folder for as long as they serve.

    Args:
        folder: For what is built.
        environment: Of ``envs/tool embedded``.
    """

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self.environment = folder, environment
        self._built: dict[str, Path] = {}

    def library(self) -> Path:
        """The shared library of this machine."""
        return self._once("library", lambda out: compiler.build_library("host", out, environment=self.environment))

    def _once(self, name: str, build: Any) -> Path:
        if name not in self._built:
            build(self.folder / name)
            self._built[name] = self.folder / name
        return self._built[name]

    def run(self, target: Target, blob: bytes, job: Job, *, ram_bytes: int | None = None) -> Outcome:
        """Run a job on a target; a firmware may be told how much RAM it has.

        Raises:
            NotRun: The compiler, or what runs the program, is not here.
            UserError: The firmware does not fit, or the target stops with an error.
        """
        stored = self.folder / "model.bin"
        stored.write_bytes(blob)
        room = run.arena_bytes(blob, job, self.library())
        if target == "host":
            program = self._once("runner", lambda out: compiler.build_runner("host", out, environment=self.environment))
            return run.on_host(program, stored, job, room, self.folder)
        if target == "wasm":
            program = self._once("runner.wasm", lambda out: compiler.build_runner("wasm", out, environment=self.environment))
            return run.in_web_assembly(program, stored, job, room, self.environment)
        run.qemu()
        source, firmware = self.folder / "model.c", self.folder / f"{target}.elf"
        source.write_text(image.as_c(blob), encoding="utf-8")
        if ram_bytes is None and room + 64 * KIB > compiler.BOARDS[target].ram_bytes:
            ram_bytes = compiler.OUTSIDE_OFFSET
        compiler.build_runner(target, firmware, image_c=source, arena_bytes=room, ram_bytes=ram_bytes,
                              environment=self.environment)
        return run.on_cortex_m(target, firmware, job, self.folder)


def measure(base: Base, about: dict[str, Any], users: Sequence[User], settings: Device, *, environment: Path,
            progress: bool = False) -> dict[str, Any]:
    """Everything for ``device.json``: ``targets``, ``users``, ``widths``, ``budgets``, ``checks``.

    Args:
        base: A base model of frozen normalisation.
        about: Its metadata.

    Raises:
        NotRun: There is no compiler, so nothing can be said.
    """
    with tempfile.TemporaryDirectory() as folder, tqdm(desc="devices", unit="job", disable=not progress) as bar:
        bench = Bench(Path(folder), environment)
        metadata = {**about, "vocabulary": base.vocabulary, "feature_scale": base.scale}
        targets, rows = _same_bits(bench, base, metadata, users, settings, bar)
        if targets.get(MEASURED) is not True:
            widths: list[dict[str, Any]] = []
            budgets: list[dict[str, Any]] = []
        else:
            widths = list(_widths(bench, metadata, base, users[0], settings, bar))
            budgets = list(_budgets(bench, metadata, base, users[0], settings, bar))
    absent = [target for target, why in targets.items() if why is not True]
    return {"targets": {target: {"measured": True} if why is True else {"measured": False, "why": why}
                        for target, why in targets.items()},
            "users": rows, "widths": widths, "budgets": budgets, "checks": _checks(rows, widths, budgets, absent)}


# ------------------------------------------------------------------------------------------------ the same bits
def _same_bits(bench: Bench, base: Base, metadata: dict[str, Any], users: Sequence[User], settings: Device,
               bar: Any) -> tuple[dict[Target, bool | str], list[dict[str, Any]]]:
    blob = image.spiking(base.net, metadata, where="base")
    targets: dict[Target, bool | str] = {}
    rows = []
    for user in users:
        job = user.job(settings.budget, settings.seed)
        outcomes: dict[Target, Outcome] = {}
        for target in settings.targets:
            if isinstance(targets.get(target), str):
                continue
            try:
                outcomes[target] = bench.run(target, blob, job)
                targets[target] = True
            except NotRun as reason:
                targets[target] = str(reason)
            bar.update()
        if not outcomes:
            raise NotRun(next(str(why) for why in targets.values()))
        first = next(iter(outcomes.values()))
        torch_before, torch_after, furthest = _on_pytorch(bench, base, metadata, user, blob, settings)
        rows.append({
            "user": user.name, "support_clips": len(user.support), "query_clips": len(user.query),
            "correct_before": user.correct(first.before), "correct_after": user.correct(first.after),
            "bits": first.bits, "same": [target for target, outcome in outcomes.items() if outcome.bits == first.bits],
            "other": [target for target, outcome in outcomes.items() if outcome.bits != first.bits],
            "float_exceptions": {target: outcome.one("float_exceptions") for target, outcome in outcomes.items()
                                 if "float_exceptions" in outcome.numbers},
            "as_pytorch_before": int((np.array(first.before) == torch_before).sum()),
            "as_pytorch_after": int((np.array(first.after) == torch_after).sum()), "largest_weight_difference": furthest})
    return targets, rows


def _on_pytorch(bench: Bench, base: Base, metadata: dict[str, Any], user: User, blob: bytes,
                settings: Device) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]:
    """Predictions of the query before and after adapting in PyTorch, and how far its weights are from the library's."""
    from edgekws.embedded.library import Host, Library

    front, scale = Features(**metadata["settings"].get("features", {})), base.scale
    assert scale is not None  # else there were no image

    def features(clips: Sequence[Samples]) -> torch.Tensor:
        return torch.from_numpy(logmel.log_mel_deltas(np.stack([logmel.prepare(clip) for clip in clips]), front)) / scale

    net = copy.deepcopy(base.net)
    budget = settings.budget.model_copy(update={"batch_size": len(user.support)})
    training.train(net, features(user.support), torch.tensor(user.support_words), budget, seed=settings.seed)
    device = Library(Host(bench.library()), blob)
    device.start(clips=len(user.support))
    for word, samples in zip(user.support_words, user.support, strict=True):
        device.hear(samples)
        device.keep(word)
    device.learn(rate=budget.learning_rate, epochs=budget.epochs, seed=settings.seed)
    own = [tensor for name, tensor in net.state_dict().items() if name.startswith("hidden.0.") or name == "readout"]
    by_size = {tensor.numel(): tensor for tensor in own}
    furthest = max(float(np.abs(found - by_size[found.size].T.numpy().ravel()).max())
                   for found in device.weights() if found.size in by_size)
    query = features(user.query)
    with torch.no_grad():
        return base.net(query).argmax(1).numpy(), net(query).argmax(1).numpy(), furthest


# ------------------------------------------------------------------------------------------------ widths and budgets
def _of_width(metadata: dict[str, Any], base: Base, neurons: int, seed: int) -> bytes:
    """An image of an untrained net like the base, but of another width; of the base's own width it is the base."""
    if [neurons] == base.net.settings.hidden:
        return image.spiking(base.net, metadata, where="base")
    network = base.net.settings.model_copy(update={"hidden": [neurons]})
    net = fresh_net(network, inputs=base.net.inputs, outputs=base.net.outputs, seed=derive_seed(seed, "device"))
    return image.spiking(net, metadata, where="net")


def _widths(bench: Bench, metadata: dict[str, Any], base: Base, user: User, settings: Device,
            bar: Any) -> Iterator[dict[str, Any]]:
    """Flash, RAM, stack and instructions of nets of several widths, by Traces Propagation and back-propagation."""
    clips = user.job(settings.budget, settings.seed)
    short = replace(clips, support=clips.support[:settings.clips], query=clips.query[:2], epochs=1)
    learning = [replace(short, rule=rule, optimiser=optimiser) for rule in RULES for optimiser in OPTIMISERS]
    length = logmel.frames_of(Features(**metadata["settings"].get("features", {})))
    for neurons in settings.widths:
        blob = _of_width(metadata, base, neurons, settings.seed)
        for job in (replace(short, support=[]), *learning):
            found = bench.run(MEASURED, blob, job)
            bar.update()
            sizes = Sizes(base.net.inputs, neurons, base.net.outputs, length, len(job.support))
            method: Method = "full" if job.rule == "bptt" else "traces_propagation"
            by_bench = formula(method, sizes, len(job.support), job.optimiser) if job.support else {}
            frames = length * len(job.query)
            yield {"neurons": neurons, "rule": job.rule if job.support else "none", "optimiser": job.optimiser,
                   "clips": len(job.support), "image": len(blob), "flash": found.flash, "ram": found.ram,
                   "stack": found.one("stack_bytes"), "formula": by_bench, "formula_bytes": sum(by_bench.values()),
                   "float_exceptions": found.one("float_exceptions"),
                   "arena": {name: found.one(f"{name}_bytes") for name in ARENA},
                   "instructions": {"hear": found.one("before_hear_instructions") // len(job.query),
                                    "frame": found.one("before_frame_instructions") // frames,
                                    "learn": found.one("learn_instructions"), "steps": found.one("learn_steps"),
                                    "step": found.one("step_instructions")}}


def _budgets(bench: Bench, metadata: dict[str, Any], base: Base, user: User, settings: Device,
             bar: Any) -> Iterator[dict[str, Any]]:
    """For each budget of RAM the widest net that is built, linked and adapted in it."""
    whole = user.job(settings.budget, settings.seed)
    clips = replace(whole, support=whole.support[:settings.clips], storage="bytes", epochs=1)
    for budget in settings.budgets:
        for optimiser in OPTIMISERS:
            job = replace(clips, optimiser=optimiser)
            neurons, found = _widest(bench, metadata, base, job, budget * KIB, settings)
            bar.update()
            if found is None:
                yield {"budget": budget, "optimiser": optimiser, "clips": len(job.support), "neurons": 0, "ram": None,
                       "correct_before": None, "correct_after": None, "query_clips": len(job.query), "as_host": None}
                continue
            host = bench.run("host", _of_width(metadata, base, neurons, settings.seed), job)
            yield {"budget": budget, "optimiser": optimiser, "clips": len(job.support), "neurons": neurons, "ram": found.ram,
                   "correct_before": user.correct(found.before), "correct_after": user.correct(found.after),
                   "query_clips": len(job.query), "as_host": found.bits == host.bits}


def _widest(bench: Bench, metadata: dict[str, Any], base: Base, job: Job, budget: int,
            settings: Device) -> tuple[int, Outcome | None]:
    """The widest net, in steps of eight neurons, whose firmware fits; found by the library's need, then built."""
    def needed(neurons: int) -> int:
        return run.arena_bytes(_of_width(metadata, base, neurons, settings.seed), job, bench.library())

    low, high = 0, 1024
    while high - low > 8:
        middle = (low + high) // 16 * 8
        low, high = (middle, high) if needed(middle) + compiler.STACK_BYTES <= budget else (low, middle)
    while low:
        try:
            blob = _of_width(metadata, base, low, settings.seed)
            return low, bench.run(MEASURED, blob, job, ram_bytes=budget)
        except UserError as error:
            if "RAM" not in error.what:
                raise
            low -= 8  # the linker counts what else the firmware has
    return 0, None


# ------------------------------------------------------------------------------------------------ checks
def _checks(rows: Sequence[dict[str, Any]], widths: Sequence[dict[str, Any]], budgets: Sequence[dict[str, Any]],
            absent: Sequence[Target]) -> dict[str, Any]:
    """What must hold, and why; a check that was not made is left out."""
    places = {target for row in rows for target in row["same"]}
    found: dict[str, Any] = {"same_bits": {
        "holds": all(not row["other"] for row in rows) and len(places) > 1,
        "why": f"{len(rows)} users, {sum(row['support_clips'] for row in rows)} clips learnt and "
               f"{sum(row['query_clips'] for row in rows)} predicted on {', '.join(sorted(places))}: potentials, weights, deltas"
               + (f"; not run: {', '.join(sorted(absent))}" if absent else "")}}
    flags = [value for row in rows for value in row["float_exceptions"].values()]
    if flags:
        found["no_float_exceptions"] = {"holds": not any(flags), "why": "invalid operation, division by zero and overflow never "
                                        f"flagged in {len(flags)} adaptations"}
    learnt = {(row["neurons"], row["optimiser"], row["rule"]): row for row in widths}
    if widths:
        found["static_memory"] = {
            "holds": all(row["stack"] <= compiler.STACK_BYTES and row["ram"] - row["stack"] - row["arena"]["arena"] < 4 * KIB
                         for row in widths),
            "why": "no heap is linked; RAM is the arena, at most "
                   f"{max(row['ram'] - row['stack'] - row['arena']['arena'] for row in widths):,} bytes of other variables, and "
                   f"a stack of at most {max(row['stack'] for row in widths):,} bytes, in {len(widths)} firmwares"}
    pairs = [(learnt[neurons, optimiser, "traces"], learnt[neurons, optimiser, "bptt"])
             for neurons, optimiser, rule in learnt if rule == "bptt"]
    if pairs:
        ratios = [own["ram"] / other["ram"] for own, other in pairs]
        found["less_memory_than_bptt"] = {
            "holds": all(ratio < 1 for ratio in ratios),
            "why": f"RAM of Traces Propagation is {min(ratios):.2f} to {max(ratios):.2f} times that of back-propagation of the "
                   f"same clips, one clip at a time, over {len(pairs)} nets and optimisers"}
    if budgets:
        built = [row for row in budgets if row["neurons"]]
        found["fits_budgets"] = {
            "holds": bool(built) and all(row["as_host"] and row["ram"] <= row["budget"] * KIB for row in built),
            "why": "; ".join(f"{row['budget']} KiB, {row['optimiser']}: {row['neurons']} neurons" for row in budgets)}
    return found


# ------------------------------------------------------------------------------------------------ by hand
def on_recordings(model: Path, folder: Path, target: Target, *, precision: image.Precision, hold_back: float, budget: Training,
                  seed: int, megahertz: float, environment: Path) -> str:
    """Adapt to a person's recordings on a target; what came out, and what it took, to read.

    Raises:
        NotRun: The compiler, or what runs the target, is not here.
    """
    from edgekws.core.text import aligned
    from edgekws.corpus import archive, audio
    from edgekws.methods.traces_propagation import personalise
    from edgekws.methods.traces_propagation.experiments import read_base

    base, about = read_base(model)
    recordings = personalise.read_recordings(folder, base.vocabulary, Features(**about["settings"]["features"]))
    learn, held = personalise.hold_back(recordings, hold_back, seed)
    sounds = {name: audio.decode_wav(data, name) for name, data in archive.read_members(folder)
              if data and name.endswith(".wav")}

    def clips(places: list[int]) -> tuple[list[Samples], list[int]]:
        return [sounds[recordings.files[place]] for place in places], [int(recordings.labels[place]) for place in places]

    user = User("you", *clips(learn), *clips(held))
    job = user.job(budget, seed)
    blob = image.of_model(model, precision)
    with tempfile.TemporaryDirectory() as temporary:
        found = Bench(Path(temporary), environment).run(target, blob, job)
    words = [*base.vocabulary, *["(none)"] * base.net.outputs]
    lines = [["recording", "before", "after"], *([recordings.files[place], words[before], words[after]]
             for place, before, after in zip(held, found.before, found.after, strict=True))]
    text = (f"{aligned(lines)}\n\nright before {user.correct(found.before)} of {len(held)}, after {user.correct(found.after)}; "
            f"learnt from {len(learn)}\narena {found.one('arena_bytes'):,} bytes, image {len(blob):,}")
    if found.flash is None or found.ram is None:
        return text
    counts = {"hear a clip": found.one("before_hear_instructions") / max(len(held), 1),
              "predict it": found.one("before_frame_instructions") / max(len(held), 1),
              "an update, at most": found.one("step_instructions"), "learn": found.one("learn_instructions")}
    return (f"{text}\nflash {found.flash:,} bytes, RAM {found.ram:,}, of it stack {found.one('stack_bytes'):,}\n\n"
            + aligned([["", "instructions", f"at {megahertz:g} MHz"],
                       *([name, f"{count:,.0f}", f"{count / megahertz / 1e3:,.1f} ms"] for name, count in counts.items())]))
