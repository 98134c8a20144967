"""Commands about archives of speech. Heavy libraries are imported inside the verbs, so that ``--help`` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgekws.core.options import Progress, Seed, SetOption, SettingsText, example

app = typer.Typer(no_args_is_help=True, help="Archives of speech: make, pin and index them.")
front = typer.Typer()


@app.command("synthesise", epilog=example("corpus synthesise results/demo/corpus/synthetic.tar --jobs 2"))
def synthesise(
    out: Annotated[Path, typer.Argument(help="Archive to write (.tar).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = 1,
    progress: Progress = True,
) -> None:
    """Make the embedded corpus: synthetic speech in the layout of Google Speech Commands.

    Settings: corpus.synthetic.
    """
    from edgekws.core import settings as s
    from edgekws.corpus import synthetic
    from edgekws.corpus.settings import Synthetic

    synthetic.synthesise(s.read(Synthetic, settings, set_ or ()), seed, out, jobs=jobs, progress=progress)


@app.command("register", epilog=example("corpus register heysnips hey_snips_research_6k_en_train_eval_clean_ter.tar.gz"))
def register(
    kind: Annotated[Literal["gsc", "heysnips"], typer.Argument(
        help="gsc: an archive in the layout of Google Speech Commands; heysnips: HeySnips v1 or v2.")],
    archive: Annotated[str, typer.Argument(help="The archive; for heysnips also the temporary URL that its owner sent.")],
    out: Annotated[Path | None, typer.Argument(
        help="Where the project keeps it; <out>.dvc pins its size and checksum. Default: data/<kind>/given/<name>.")] = None,
    progress: Progress = True,
) -> None:
    """Pin an archive with DVC: every later run then names exactly the file it used."""
    from edgekws.corpus import register

    if kind == "heysnips":
        typer.echo(register.register_heysnips(archive, out, progress=progress))
    else:
        register.register(Path(archive), out)


@app.command("fetch", epilog=example("corpus fetch data/librispeech/test-clean.tar.gz.dvc"))
def fetch(
    pointer: Annotated[Path, typer.Argument(help="What pins it: data/.../<name>.dvc.")],
) -> None:
    """Fetch data that the project names from where it came from, with DVC, and verify it."""
    from edgekws.corpus import register

    register.fetch(pointer)


@app.command("synthesise-wake-words", epilog=example("corpus synthesise-wake-words results/demo/corpus/wake_words.tar --jobs 2"))
def synthesise_wake_words(
    out: Annotated[Path, typer.Argument(help="Archive to write (.tar).")],
    settings: SettingsText = None, set_: SetOption = None, seed: Seed = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes; the bytes do not depend on it.")] = 1,
    progress: Progress = True,
) -> None:
    """Make the embedded wake-word corpus: synthetic speech in the layout of HeySnips.

    Settings: onda.corpus.synthetic.
    """
    from edgekws.core import settings as s
    from edgekws.corpus import synthetic_wake_words
    from edgekws.corpus.settings import SyntheticWakeWords

    synthetic_wake_words.synthesise(s.read(SyntheticWakeWords, settings, set_ or ()), seed, out, jobs=jobs,
                                    progress=progress)


@app.command("index-wake-words", epilog=example(
    "corpus index-wake-words results/demo/corpus/wake_words.tar results/demo/corpus/wake_words.parquet"))
def index_wake_words(
    archive: Annotated[Path, typer.Argument(help="Archive or folder in the layout of HeySnips (v1 or v2).")],
    out: Annotated[Path, typer.Argument(help="Index to write (.parquet).")],
    positives: Annotated[Path | None, typer.Option(help="HeySnapdragon: the Qualcomm Keyword Speech Dataset.")] = None,
    salt: Annotated[Path | None, typer.Option(
        help="File with the salt of the speakers' hashes, made if absent; default: beside the archive.")] = None,
    progress: Progress = True,
) -> None:
    """List every utterance of a wake-word corpus; of its speakers only salted hashes are kept."""
    from edgekws.corpus import index, wake_words

    table, facts = wake_words.build_index(archive, positives=positives, salt=salt, progress=progress)
    index.write_index(out, table, facts)
    typer.echo(f"{facts['clips']} utterances of {facts['speakers']} speakers, {facts['positives']} wake words; hours of other "
               "speech: " + ", ".join(f"{split} {hours:.2f}" for split, hours in facts["negative_hours"].items()))


@app.command("index-open-words", epilog=example(
    "corpus index-open-words data/open_wake_words/recordings results/open/corpus/wake_words.parquet "
    "--speakers data/open_wake_words/speakers.csv --speech data/librispeech/test-clean.tar.gz"))
def index_open_words(
    recordings: Annotated[Path, typer.Argument(help="Archive or folder of wake words of people: Picovoice's, or your own.")],
    out: Annotated[Path, typer.Argument(help="Index to write (.parquet).")],
    speakers: Annotated[Path | None, typer.Option(
        help="Table of who said what (.csv); without one the folders keyword/speaker/file say it.")] = None,
    speech: Annotated[list[Path] | None, typer.Option(help="Archive or folder of other speech; repeat for each.")] = None,
    progress: Progress = True,
) -> None:
    """List wake words of people, without copies of a take, and other speech."""
    from edgekws.corpus import index, open_words

    table, facts = open_words.build_index(recordings, speakers=speakers, speech=speech or [], progress=progress)
    index.write_index(out, table, facts)
    typer.echo(f"{facts['positives']} takes of " + ", ".join(f"{word} ({takes})" for word, takes in facts["keywords"].items())
               + f"; {facts['copies']} copies of a take left out; {facts['negative_hours']['all']:.2f} hours of other speech; "
               f"{facts['speakers']} speakers")


@app.command("index", epilog=example("corpus index results/demo/corpus/synthetic.tar results/demo/corpus/index.parquet"))
def index(
    archive: Annotated[Path, typer.Argument(
        help="Archive (.tar, .tar.gz, .tar.bz2, .tar.xz, .zip) or folder in the layout of GSC.")],
    out: Annotated[Path, typer.Argument(help="Index to write (.parquet).")],
    sha256: Annotated[str | None, typer.Option(help="Refuse the archive unless it has this SHA-256.")] = None,
    progress: Progress = True,
) -> None:
    """List every clip of an archive: word, speaker, take, split, repeats, flags."""
    from edgekws.corpus import index

    table, facts = index.build_index(archive, progress=progress)
    if sha256:
        index.verify_checksum(facts, sha256)
    index.write_index(out, table, facts)
    typer.echo(f"{facts['clips']} clips of {facts['speakers']} speakers, {len(facts['words'])} words: "
               + ", ".join(f"{count} {split}" for split, count in table.split.value_counts().items())
               + f"; {int((table.repeat_of != '').sum())} repeats, {int(table.silent.sum())} near-silent")


@front.command("cut", epilog=example("cut many_takes.wav my_recordings/yes/"))
def cut(
    recording: Annotated[Path, typer.Argument(help="A long recording with a pause after each word, in any format and rate.")],
    folder: Annotated[Path, typer.Argument(help="Where the pieces go, as <name>_<number>.wav.")],
) -> None:
    """Cut a long recording at its pauses into one file for each word; listen to them, and delete what is none."""
    from edgekws.corpus import recordings

    for file, start, end in recordings.cut(recording, folder):
        typer.echo(f"{file}\t{start:.2f}-{end:.2f} s")
