"""Commands about a user's delta. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.errors import UserError
from edgekws.core.options import example

app = typer.Typer(no_args_is_help=True,
                  help="A user's delta: what adapting changed, as a small file for the base it was made from.")

BasePath = Annotated[Path, typer.Argument(help="Base model (.safetensors), of any kind that edgekws writes.")]
DeltaPaths = Annotated[list[Path], typer.Argument(help="Deltas (.safetensors).")]
OutDelta = Annotated[Path, typer.Argument(help="Delta to write (.safetensors).")]
Precision = Annotated[Literal["fp32", "int8"], typer.Option(
    help="fp32: gives the adapted model bit for bit; int8: about a quarter of the bytes, rounded.")]


@app.command("diff", epilog=example(
    "delta diff results/demo/models/traces_propagation/base_frozen_seed0.safetensors adapted.safetensors mine.safetensors "
    "--precision int8"))
def diff(
    base: BasePath,
    adapted: Annotated[Path, typer.Argument(help="The same model, adapted to a user (.safetensors).")],
    out: OutDelta,
    precision: Precision = "fp32",
    method: Annotated[str, typer.Option(help="How it was adapted: a note that the delta keeps.")] = "",
) -> None:
    """Write what an adapted model has that its base does not: a delta."""
    from edgekws.core.provenance import provenance
    from edgekws.models.delta import format
    from edgekws.models.delta.delta import between

    old, new = format.read_model(base), format.read_model(adapted)
    if new.architecture != old.architecture:
        raise UserError(f"holds '{new.architecture}', the base '{old.architecture}'", where=adapted,
                        remedy="compare it with the base that it was adapted from")
    try:
        delta = between(old.tensors, new.tensors)
    except UserError as error:
        raise UserError(error.what, where=adapted, remedy=error.remedy) from error
    changed = {name: value for name, value in new.settings.items() if old.settings.get(name) != value}
    about = format.About(architecture=old.architecture, base=old.checksum, method=method, precision=precision, settings=changed)
    format.write_delta(out, delta, about, base=old.tensors, provenance={**provenance(), "adapted": new.provenance})
    typer.echo(f"{len(delta.tensors())} tensors, {delta.values:,} numbers, {out.stat().st_size:,} bytes")


@app.command("apply", epilog=example(
    "delta apply results/demo/models/traces_propagation/base_frozen_seed0.safetensors mine.safetensors adapted.safetensors"))
def apply(
    base: BasePath,
    delta: Annotated[Path, typer.Argument(help="Delta of that base (.safetensors).")],
    out: Annotated[Path, typer.Argument(help="Adapted model to write (.safetensors), of the base's kind.")],
) -> None:
    """Write the adapted model: the base with a delta laid over it. A delta of another base is refused."""
    from edgekws.core import files
    from edgekws.core.provenance import provenance
    from edgekws.models.delta import format
    from edgekws.models.delta.delta import apply

    old = format.read_model(base)
    change, about, origin = format.read_delta(delta, base=old.checksum)
    try:
        tensors = apply(old.tensors, change)
    except UserError as error:
        raise UserError(error.what, where=delta, remedy=error.remedy) from error
    files.write_model(out, tensors, architecture=old.architecture, settings={**old.settings, **about.settings}, provenance={
        **provenance(), "base": old.provenance,
        "delta": {"sha256": files.sha256_of(delta), "method": about.method, "precision": about.precision, **origin}})


@app.command("merge", epilog=example("delta merge ann.safetensors ben.safetensors both.safetensors"))
def merge(
    deltas: DeltaPaths,
    out: OutDelta,
    weight: Annotated[list[float] | None, typer.Option(
        help="Of a delta, in their order, for example a user's number of clips; all alike if not given.")] = None,
    precision: Annotated[Literal["fp32", "int8"] | None, typer.Option(
        help="Of the merged delta; if not given int8 where all are and hold no replaced tensors, else fp32.")] = None,
) -> None:
    """Average several users' deltas of one base.

    What is averaged is what each adds to the base: products of low rank as products, adapters by their outputs. Deltas that
    change other tensors, or in another form, are refused. Of the adapted models' settings those are kept that all share.
    """
    from edgekws.core import files
    from edgekws.core.provenance import provenance
    from edgekws.models.delta import format
    from edgekws.models.delta import merge as merging

    if len(deltas) < 2:
        raise UserError("one delta is no several", where="merge", remedy="name two deltas or more, then the file to write")
    read = [format.read_delta(path) for path in deltas]
    first = read[0][1]
    for path, (_, about, _) in zip(deltas, read, strict=True):
        format.check_base(about, first.base, where=path)
    merged = merging.merge([delta for delta, _, _ in read], weight)
    # The mean of replaced tensors is on no int8 grid, and there is no base here to take its difference from.
    small = all(about.precision == "int8" for _, about, _ in read) and not merged.replaced
    chosen = precision or ("int8" if small else "fp32")
    about = first.model_copy(update={
        "precision": chosen, "method": " + ".join(sorted({about.method for _, about, _ in read})),
        "settings": {name: value for name, value in first.settings.items()
                     if all(about.settings.get(name) == value for _, about, _ in read)}})
    format.write_delta(out, merged, about, provenance={**provenance(), "merged": [
        {"sha256": files.sha256_of(path), "weight": share, **origin}
        for path, share, (_, _, origin) in zip(deltas, weight or [1.0] * len(deltas), read, strict=True)]})


@app.command("size", epilog=example(
    "delta size mine.safetensors --base results/demo/models/traces_propagation/base_frozen_seed0.safetensors"))
def size(
    deltas: DeltaPaths,
    base: Annotated[Path | None, typer.Option(help="Their base: its bytes are what a delta's share is of.")] = None,
) -> None:
    """Numbers and bytes of deltas, by tensor and in all, and their share of the base's bytes."""
    from edgekws.core.text import aligned
    from edgekws.models.delta import format

    model = None if base is None else format.read_model(base)
    whole = 0 if model is None else sum(tensor.nbytes for tensor in model.tensors.values())
    for number, path in enumerate(deltas):
        _, about, _ = format.read_delta(path, base=None if model is None else model.checksum)
        tensors = format.stored_bytes(path)
        tensors["all"] = (sum(values for values, _ in tensors.values()), sum(size for _, size in tensors.values()))
        table = [["tensor", "numbers", "bytes", *(["of the base"] if whole else [])],
                 *([name, f"{values:,}", f"{size:,}", *([f"{100 * size / whole:.2f} %"] if whole else [])]
                   for name, (values, size) in tensors.items())]
        method = f", {about.method}" if about.method else ""
        typer.echo("\n" * (number > 0) + f"{path}: {about.precision}{method}, base {about.base[:12]}…, file of "
                   f"{path.stat().st_size:,} bytes\n{aligned(table)}")
