"""The speech: an archive in the layout of Google Speech Commands, and its index.

Inputs: nothing (embedded corpus), a DVC pointer (the whole of GSC v0.02), or the archive that the settings name.
Outputs: results/<run>/corpus/index.parquet.

DVC locks its repository, so its calls go one at a time: `dvc=1` is all there is (profiles/default).
"""

ARCHIVE_NAME = r"[^/]+(?<!\.dvc)"


# DVC copies a folder as a folder, which Snakemake is to be told of.
GIVEN = directory if SETTINGS.archive and Path(SETTINGS.archive).is_dir() else str


def archive_of_run(wildcards):
    """The archive this run reads."""
    if SETTINGS.corpus.name == "synthetic":
        return f"{RUN}/corpus/synthetic.tar"
    if SETTINGS.archive:
        return f"data/gsc/given/{Path(SETTINGS.archive).name}"
    return "data/gsc/speech_commands_v0.02.tar.gz"


rule synthesise_corpus:
    output:
        f"{RUN}/corpus/synthetic.tar",
    log:
        f"{LOGS}/synthesise_corpus.log",
    benchmark:
        f"{BENCHMARKS}/synthesise_corpus.tsv"
    priority: 3
    threads: 2
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(30),
        units=SPEECH.clips,
    params:
        settings=as_json(SETTINGS.corpus.synthetic),
        seed=SETTINGS.seed,
    message:
        "Speaking the embedded corpus with espeak-ng"
    shell:
        "edgekws corpus synthesise {output} --settings {params.settings:q} --seed {params.seed} --jobs {threads}"
        " &> {log}"


rule register_archive:
    input:
        lambda wildcards: SETTINGS.archive,
    output:
        GIVEN("data/gsc/given/{archive}"),
    log:
        f"{LOGS}/register_archive/{{archive}}.log",
    benchmark:
        f"{BENCHMARKS}/register_archive/{{archive}}.tsv"
    wildcard_constraints:
        archive=ARCHIVE_NAME,
    priority: 3
    # From the network or this machine alone: a node of a cluster may reach neither.
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(500),
        runtime=more_time(30),
        dvc=1,
    message:
        "Pinning the given archive {input} with DVC"
    shell:
        "edgekws corpus register gsc {input:q} {output:q} &> {log:q}"


rule fetch_archive:
    input:
        "data/gsc/{archive}.dvc",
    output:
        "data/gsc/{archive}",
    log:
        f"{LOGS}/fetch_archive/{{archive}}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_archive/{{archive}}.tsv"
    wildcard_constraints:
        archive=ARCHIVE_NAME,
    priority: 3
    # From the network or this machine alone: a node of a cluster may reach neither.
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(240),
        dvc=1,
    message:
        "Fetching {output} with DVC and verifying it"
    shell:
        "edgekws corpus fetch {input:q} &> {log:q}"


rule index_corpus:
    """Step. Listing the clips of the archive."""
    input:
        archive_of_run,
    output:
        f"{RUN}/corpus/index.parquet",
    log:
        f"{LOGS}/index_corpus.log",
    benchmark:
        f"{BENCHMARKS}/index_corpus.tsv"
    priority: 3
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    message:
        "Listing the clips of {input}"
    shell:
        "edgekws corpus index {input:q} {output} &> {log}"
