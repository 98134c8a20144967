"""Who adapts to what: the users of a protocol, their folds, support and query.

Inputs: the corpus' index.
Outputs: results/<run>/corpus/plan_<protocol>.parquet, which every method reads that adapts to users.
"""

# Users of the training split must not be heard in a base's training.
USERS_OF_TRAINING = "train" in SETTINGS.protocol.many_users.splits


def also_left_out(wildcards):
    """The plan whose users of the training split a base must not hear either, where there are any."""
    return f"{RUN}/corpus/plan_many_users.parquet" if USERS_OF_TRAINING else []


def also_option(wildcards, input):
    """The same as an option of the command."""
    return f"--also {input.also}" if input.also else ""


def more_bases(wildcards, input):
    """Base models but for the first, as options of a command that chooses over all seeds."""
    return " ".join(f"--base {base}" for base in input.bases[1:])


rule protocol_plan:
    input:
        f"{RUN}/corpus/index.parquet",
    output:
        f"{RUN}/corpus/plan_{{protocol}}.parquet",
    log:
        f"{LOGS}/protocol/plan_{{protocol}}.log",
    benchmark:
        f"{BENCHMARKS}/protocol/plan_{{protocol}}.tsv"
    priority: 3
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=SPEECH.clips,
    params:
        settings=lambda wildcards: as_json(getattr(SETTINGS.protocol, wildcards.protocol)),
    message:
        "Splitting the clips of {wildcards.protocol} into support and query"
    shell:
        "edgekws protocol plan {input} {output} --protocol {wildcards.protocol}"
        " --settings {params.settings:q} &> {log}"
