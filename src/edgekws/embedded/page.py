"""The page that learns a person's voice: model, C library and scripts in one file that asks nothing of a network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.embedded import compiler, image
from edgekws.models.recurrent_lif import load_network
from edgekws.protocol.settings import Training

_POLICY = ("default-src 'none'; script-src 'sha256-{data}' 'sha256-{script}' 'wasm-unsafe-eval' blob: data:; worker-src blob:; "
           "style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'")
"""No image, no connection, no script but these two, the worker and the microphone's tap, which the page holds itself."""


def build(model: str | Path, out: str | Path, budget: Training, *, expected: Mapping[str, Any] | None = None, seed: int = 0,
          environment: Path = compiler.ENVIRONMENT) -> int:
    """Write the page for a base model; its bytes.

    Args:
        model: Base model of Traces Propagation, of frozen normalisation.
        budget: How long it learns.
        expected: ``before`` and ``after``, accuracy in percent of users who are like the page's, and ``users``, how many; to
            say what is to be expected.
        environment: Where ``envs/tool embedded`` put the compiler.

    Raises:
        NotRun: There is no compiler.
        UserError: The model is none that a device can run.
    """
    blob = image.of_model(model)
    _, metadata = load_network(model)
    folder = compiler.sources() / "page"
    with tempfile.TemporaryDirectory() as scratch:
        compiler.build_library("wasm", Path(scratch) / "edgekws.wasm", environment=environment)
        wasm = (Path(scratch) / "edgekws.wasm").read_bytes()
    held = {"wasm": base64.b64encode(wasm).decode(), "image": base64.b64encode(blob).decode(),
            "worker": _text(folder / "worker.js"), "worklet": _text(folder / "worklet.js"),
            "budget": {"rate": budget.learning_rate, "epochs": budget.epochs, "batch": budget.batch_size, "seed": seed},
            "about": about(metadata["vocabulary"], metadata["provenance"].get("corpus", {}), expected)}
    data = json.dumps(held).replace("</", "<\\/")  # ends no script
    parts = {"data": f"const DATA = {data};", "script": _text(folder / "voice.js"),
             "style": _text(folder / "voice.css")}
    parts["policy"] = _POLICY.format(**{name: _hash(part) for name, part in parts.items()})
    page = _text(folder / "voice.html")
    for name, part in parts.items():
        page = page.replace("{{ " + name + " }}", part)
    files.write_text(Path(out), page)
    return len(page.encode())


def say_why(reason: str, out: str | Path) -> int:
    """Write a page that tells why there is none; its bytes."""
    text = ("<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Not made</title><p>The page that learns a person's voice "
            f"was not made: {html.escape(reason)}.</p></html>\n")
    files.write_text(Path(out), text)
    return len(text.encode())


def expected_of(measured: str | Path) -> dict[str, Any]:
    """What ``expected`` of :func:`build` is, read from the metrics of many users (all support clips, by the paper's rule).

    Raises:
        UserError: The file holds no such summary.
    """
    try:
        told = files.read_json(Path(measured))["summary"]["traces_propagation"]["all"]
        return {"users": told["users"], "before": told["before"]["value"], "after": told["after"]["value"]}
    except (KeyError, TypeError):
        raise UserError("has no summary of users who adapted by Traces Propagation with all their clips", where=measured,
                        remedy="give metrics/traces_propagation/many_users.json of a run") from None


def about(words: list[str], corpus: Mapping[str, Any], expected: Mapping[str, Any] | None) -> str:
    """What the model is, and what to expect of it, in words."""
    told = f"The model knows {len(words)} words"
    if corpus.get("synthetic"):
        told += (". It is the demonstration's: it has heard only synthetic English speech, so expect it to know a person badly "
                 "at first")
    elif corpus.get("archive"):
        told += f", learnt from {corpus.get('speakers', 'many')} people of {corpus['archive']}"
    if expected is not None:
        people = "synthetic speakers" if corpus.get("synthetic") else "other people"
        told += (f". {expected['users']} {people} were understood in {expected['before']:.0f} % of their words before it "
                 f"learnt from them and in {expected['after']:.0f} % after")
    return told + "."


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(part: str) -> str:
    return base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
