"""A keyword engine that its makers trained on many people, held against a few recordings: Porcupine 1.9.5 (Apache-2.0).

It is the last one from pip that runs without an account and a network, and has models of the words of Picovoice's own
benchmark. It knows no user and cannot learn one; its one setting is a sensitivity, so every utterance is heard at many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.core.progress import tqdm
from edgekws.corpus.audio import FULL_SCALE
from edgekws.methods.onda import windows as front_end
from edgekws.methods.onda.settings import OnDA

Samples = npt.NDArray[np.float32]
Listen = Callable[[npt.NDArray[np.int16]], int]

NAME, VERSION = "Porcupine", "1.9.5"
COLUMNS = ["utterance", "clip", "keyword", "sensitivity"]
"""Of the table: row of the windows' table, its name, the keyword that is heard and the lowest sensitivity that hears it."""

_FRAME, _TAIL = 512, 8000
"""Samples that the engine takes at once, and of silence after an utterance, for it answers a little late."""


def sensitivities(count: int) -> list[float]:
    """So many sensitivities, evenly from 1 down to 0.

    >>> sensitivities(3)
    [1.0, 0.5, 0.0]
    """
    return [float(each) for each in np.linspace(1.0, 0.0, count)]


def engines(keywords: Iterable[str], count: int) -> dict[str, Listen]:
    """What hears frames [512] of int16 for each of the keywords that the engine has a model of.

    It answers with the place of the lowest among so many :func:`sensitivities` that takes the frame for the end of the
    keyword, or -1: of several models that do the engine names the last.

    Raises:
        UserError: The engine is not installed, another version is, or it knows none of the keywords.
    """
    remedy = f"pip install --no-deps pvporcupine=={VERSION}"
    try:
        import pvporcupine
    except ImportError as error:
        raise UserError(f"{NAME} is not installed", where="onda engine", remedy=remedy) from error
    if not hasattr(pvporcupine, "KEYWORDS") or hasattr(pvporcupine, "PorcupineActivationError"):
        raise UserError("is a version that wants an account and a network", where="pvporcupine", remedy=remedy)
    known = sorted(word for word in set(keywords) if word in pvporcupine.KEYWORDS)
    if not known:
        raise UserError(f"{NAME} has a model of none of: {', '.join(sorted(keywords))}", where="onda.corpus.keywords",
                        remedy=f"it knows {', '.join(sorted(pvporcupine.KEYWORDS))}; or set onda.rivals.engine to false")
    return {word: pvporcupine.create(keywords=[word] * count, sensitivities=sensitivities(count)).process for word in known}


def lowest(samples: Samples, listen: Listen) -> int:
    """The place of the lowest sensitivity that hears the keyword in an utterance [n], -1 where none does."""
    sound = np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    sound = np.concatenate([sound, np.zeros(_TAIL, np.int16)])
    return max(listen(sound[start:start + _FRAME]) for start in range(0, len(sound) - _FRAME + 1, _FRAME))


def write(archive: Path, index_path: Path, out: Path, settings: OnDA, *, speech: Sequence[Path] = (),
          alter: front_end.Alter | None = None, seed: int, progress: bool = False) -> None:
    """Write what the engine hears of every wake word and every test negative; arguments as of :func:`.windows.extract`.

    Raises:
        UserError: As that and :func:`engines` do.
    """
    count = settings.rivals.sensitivities
    index, facts = front_end.chosen(index_path, settings.windows, settings.corpus, seed=seed)
    row = dict(zip(index.index, range(len(index)), strict=True))
    tested = index[(index["keyword"] != "") | (index["role"] == "negative")]
    by_word, known, names = engines(settings.corpus.keywords, count), sensitivities(count), tested["clip"].to_dict()
    heard = front_end.sounding(archive, tested, facts, settings.windows.crop_step, speech=speech, alter=alter)
    found = [(row[label], names[label], word, known[place])
             for label, _, samples in tqdm(heard, total=len(tested), unit=" utterances", desc=NAME, disable=not progress)
             for word, listen in by_word.items() if (place := lowest(samples, listen)) >= 0]
    files.write_table(out, pd.DataFrame(found, columns=COLUMNS), {
        "corpus": facts, "seed": seed, "engine": f"{NAME} {VERSION}", "keywords": sorted(by_word), "sensitivities": known})


def scores(table: pd.DataFrame, word: str, utterances: int) -> npt.NDArray[np.float64]:
    """The lowest sensitivity of each utterance of the windows' table for a keyword, infinite where it was not heard."""
    found = np.full(utterances, np.inf)
    of_word = table[table["keyword"] == word]
    found[of_word["utterance"].to_numpy()] = of_word["sensitivity"].to_numpy()
    return found


def beside(features: Path, condition: str) -> Path:
    """Where the table is of what the engine heard of the utterances of some windows.

    >>> beside(Path("features/onda.npy"), "noise_10").name
    'onda_noise_10_engine.parquet'
    """
    of_condition = front_end.beside(features, condition)
    return of_condition.with_name(f"{of_condition.stem}_engine.parquet")


def read(path: Path, windows: front_end.Windows) -> pd.DataFrame:
    """The table of what the engine heard.

    Raises:
        UserError: It is none, or one of other utterances.
    """
    table, _ = files.read_table(path)
    if list(table.columns) != COLUMNS or (windows.table["clip"].to_numpy()[table["utterance"]] != table["clip"]).any():
        raise UserError("is no table of what an engine heard of these utterances", where=path,
                        remedy="write it again: `edgekws onda engine`")
    return table
