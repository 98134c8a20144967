"""OnDA: the wake-word corpus, its encoders, and personalisation that prunes channels.

Inputs: nothing (embedded corpus) or the archives that the settings name; the run's words for pre-training.
Outputs: results/<run>/metrics/onda/{<experiment>,hessian,cost}.json, results/<run>/models/onda.
"""

from edgekws.models.choices import Backbone

ONDA = SETTINGS.onda
ONDA_METRICS = f"{RUN}/metrics/onda"
ONDA_MODELS = f"{RUN}/models/onda"
PAPERS["onda"] = Paper(
    title="OnDA",
    metrics=expand(f"{ONDA_METRICS}/{{experiment}}.json", experiment=[*ONDA.experiments, "hessian", "cost"]),
    figures={
        "pareto": "accuracy at 0.5 false alarms per hour against size, by schedule and encoder",
        "personalisation_gain": "what adapting and pruning gives every user",
        "detection_error": "misses against false alarms per hour, and the threshold a device would use",
        "pruning_controls": "which channels go, scored how and when: HAP, L1, at random, on other words",
        "pruning_cost": "size, time and memory of adaptation and inference on this machine",
        "hessian": "how good and how stable the estimate of the Hessian's trace is",
    },
    models=[f"{ONDA_MODELS}/adapted.safetensors"],
)


wildcard_constraints:
    backbone="|".join(get_args(Backbone)),
    share=r"\d+(\.\d+)?",
    part=r"\d+",


def percent(share):
    """How a share is named in files: 0.25 is 25."""
    return f"{100 * share:g}"


def wake_words_of_run(wildcards):
    """The archives of wake-word speech this run reads."""
    corpus = ONDA.corpus
    if corpus.name == "synthetic":
        return {"archive": f"{RUN}/corpus/wake_words.tar"}
    given = {"archive": corpus.archive}
    if corpus.name == "heysnapdragon":
        given["positives"] = corpus.positives
    return given


def option_if(name, path):
    """A command's option where there is a path for it."""
    return f"--{name} {shlex.quote(str(path))}" if path else ""


def encoder_of(experiment, offline):
    """The encoder an experiment starts from: pre-trained, or pruned before deployment."""
    backbone = ONDA.experiments[experiment].backbone
    return f"{ONDA_MODELS}/{backbone}{f'_offline{offline}' if float(offline) else ''}.safetensors"


def jobs_of(wildcards):
    """The parts that an experiment is summed up from."""
    experiment = ONDA.experiments[wildcards.experiment]
    return expand(
        f"{ONDA_METRICS}/{wildcards.experiment}/offline{{share}}_seed{{seed}}_part{{part}}.json",
        share=map(percent, experiment.offline),
        seed=experiment.seeds or SETTINGS.seeds,
        part=range(experiment.parts),
    )


def pretraining_of(wildcards):
    """Settings of one encoder's pre-training; another's number of updates is not among them."""
    settings = ONDA.pretraining
    episodes = settings.episodes_of.get(wildcards.backbone, settings.episodes)
    return settings.model_copy(update={"episodes": episodes, "episodes_of": {}})


rule onda:
    """Everything of the paper but the report: metrics and figures of every experiment."""
    input:
        PAPERS["onda"].metrics,
        f"{RUN}/notebooks/onda.ipynb",
        f"{ONDA_MODELS}/adapted.safetensors",
    localrule: True


rule synthesise_wake_words:
    output:
        f"{RUN}/corpus/wake_words.tar",
    log:
        f"{LOGS}/onda/synthesise_wake_words.log",
    benchmark:
        f"{BENCHMARKS}/onda/synthesise_wake_words.tsv"
    threads: 2
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
    params:
        settings=as_json(ONDA.corpus.synthetic),
        seed=SETTINGS.seed,
    message:
        "Speaking wake words and sentences with espeak-ng"
    shell:
        "edgekws corpus synthesise-wake-words {output} --settings {params.settings:q} --seed {params.seed}"
        " --jobs {threads} &> {log}"


rule index_wake_words:
    """Step. Listing the utterances of the wake-word corpus."""
    input:
        unpack(wake_words_of_run),
    output:
        f"{RUN}/corpus/wake_words.parquet",
    log:
        f"{LOGS}/onda/index_wake_words.log",
    benchmark:
        f"{BENCHMARKS}/onda/index_wake_words.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
    params:
        positives=lambda wildcards, input: option_if("positives", input.get("positives")),
    message:
        "Listing the utterances of {input.archive}"
    shell:
        "edgekws corpus index-wake-words {input.archive:q} {output} {params.positives} &> {log}"


rule onda_features:
    input:
        unpack(wake_words_of_run),
        index=f"{RUN}/corpus/wake_words.parquet",
    output:
        windows=f"{RUN}/features/onda.npy",
        crops=f"{RUN}/features/onda_crops.npy",
        table=f"{RUN}/features/onda.parquet",
    log:
        f"{LOGS}/onda/features.log",
    benchmark:
        f"{BENCHMARKS}/onda/features.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(120),
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        positives=lambda wildcards, input: option_if("positives", input.get("positives")),
        settings=as_json(windows=ONDA.windows, corpus=ONDA.corpus),
    message:
        "Extracting MFCC of every window"
    shell:
        "edgekws onda features {input.archive:q} {input.index} {output.windows} --seed {params.seed} {params.positives}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule speak_onda_words:
    output:
        archive=f"{RUN}/corpus/onda_words.tar",
        index=f"{RUN}/corpus/onda_words.parquet",
    log:
        f"{LOGS}/onda/speak_words.log",
    benchmark:
        f"{BENCHMARKS}/onda/speak_words.tsv"
    threads: 2
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
    params:
        settings=as_json(ONDA.spoken_words) if ONDA.spoken_words else "",
        seed=SETTINGS.seed,
    message:
        "Speaking the words for pre-training with espeak-ng"
    shell:
        "(edgekws corpus synthesise {output.archive} --settings {params.settings:q} --seed {params.seed} --jobs {threads}"
        " && edgekws corpus index {output.archive} {output.index}) &> {log}"


rule onda_words:
    input:
        archive=f"{RUN}/corpus/onda_words.tar" if ONDA.spoken_words else archive_of_run,
        index=f"{RUN}/corpus/onda_words.parquet" if ONDA.spoken_words else f"{RUN}/corpus/index.parquet",
    output:
        words=f"{RUN}/features/onda_words.npy",
        table=f"{RUN}/features/onda_words.parquet",
    log:
        f"{LOGS}/onda/words.log",
    benchmark:
        f"{BENCHMARKS}/onda/words.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(240),
    params:
        settings=ONDA.pretraining.model_dump_json(include={"words", "vocabulary", "without"}),
    message:
        "Packing the words for pre-training"
    shell:
        "edgekws onda words {input.archive:q} {input.index} {output.words} --settings {params.settings:q} &> {log}"


rule onda_pretrain:
    input:
        words=f"{RUN}/features/onda_words.npy",
    output:
        f"{ONDA_MODELS}/{{backbone}}.safetensors",
    log:
        f"{LOGS}/onda/pretrain_{{backbone}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/pretrain_{{backbone}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(4320),
        gpu=GPUS,
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seed,
        settings=lambda wildcards: as_json(pretraining_of(wildcards)),
    message:
        "Pre-training {wildcards.backbone} with triplets of words"
    shell:
        "edgekws onda pretrain {input.words} {output} --backbone {wildcards.backbone} --seed {params.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule onda_prune_offline:
    input:
        words=f"{RUN}/features/onda_words.npy",
        encoder=f"{ONDA_MODELS}/{{backbone}}.safetensors",
    output:
        f"{ONDA_MODELS}/{{backbone}}_offline{{share}}.safetensors",
    log:
        f"{LOGS}/onda/prune_{{backbone}}_offline{{share}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/prune_{{backbone}}_offline{{share}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(1440),
        gpu=GPUS,
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seed,
        share=lambda wildcards: float(wildcards.share) / 100,
        settings=lambda wildcards: as_json(pretraining=pretraining_of(wildcards), pruning=ONDA.pruning),
    message:
        "Pruning {wildcards.share} % of {wildcards.backbone} before deployment"
    shell:
        "edgekws onda prune-offline {input.encoder} {input.words} {output} --share {params.share} --seed {params.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule onda_personalise:
    input:
        features=f"{RUN}/features/onda.npy",
        table=f"{RUN}/features/onda.parquet",
        crops=f"{RUN}/features/onda_crops.npy",
        words=f"{RUN}/features/onda_words.npy",
        encoder=lambda wildcards: encoder_of(wildcards.experiment, wildcards.share),
    output:
        f"{ONDA_METRICS}/{{experiment}}/offline{{share}}_seed{{seed}}_part{{part}}.json",
    log:
        f"{LOGS}/onda/{{experiment}}_offline{{share}}_seed{{seed}}_part{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/{{experiment}}_offline{{share}}_part{{part}}_seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(1440),
    params:
        threads=THREADS,
        share=lambda wildcards: float(wildcards.share) / 100,
        settings=lambda wildcards: as_json(
            # A job has one seed and one offline share: which others there are does not matter to it.
            experiment=ONDA.experiments[wildcards.experiment].model_copy(update={"seeds": None, "offline": [0.0]}),
            calibration=ONDA.calibration,
            finetuning=ONDA.finetuning,
            pruning=ONDA.pruning,
            evaluation=ONDA.evaluation,
        ),
    message:
        "{wildcards.experiment}: personalising {wildcards.share} % pruned encoders, seed {wildcards.seed}, part {wildcards.part}"
    shell:
        "edgekws onda personalise {input.features} {input.encoder} {input.words} {output} --offline {params.share}"
        " --seed {wildcards.seed} --part {wildcards.part} --settings {params.settings:q} {params.threads} &> {log}"


rule onda_summarise:
    input:
        jobs_of,
    output:
        f"{ONDA_METRICS}/{{experiment}}.json",
    log:
        f"{LOGS}/onda/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/{{experiment}}.tsv"
    wildcard_constraints:
        experiment="|".join(ONDA.experiments),
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        settings=as_json(evaluation=ONDA.evaluation, statistics=SETTINGS.statistics),
    message:
        "Summing up {wildcards.experiment}"
    shell:
        "edgekws onda summarise {output} {input} --settings {params.settings:q} &> {log}"


rule onda_adapt:
    input:
        features=f"{RUN}/features/onda.npy",
        table=f"{RUN}/features/onda.parquet",
        crops=f"{RUN}/features/onda_crops.npy",
        encoder=encoder_of(ONDA.adapted_as, "0"),
    output:
        f"{ONDA_MODELS}/adapted.safetensors",
    log:
        f"{LOGS}/onda/adapted.log",
    benchmark:
        f"{BENCHMARKS}/onda/adapted.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(240),
    params:
        threads=THREADS,
        seed=SETTINGS.seeds[0],
        ratio=ONDA.experiments[ONDA.adapted_as].ratios[0],
        settings=as_json(calibration=ONDA.calibration, finetuning=ONDA.finetuning, pruning=ONDA.pruning),
    message:
        "Adapting and pruning the encoder for one user"
    shell:
        "edgekws onda adapt {input.features} {input.encoder} {output} --schedule onda_1 --ratio {params.ratio}"
        " --seed {params.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule onda_hessian:
    input:
        words=f"{RUN}/features/onda_words.npy",
        encoder=f"{ONDA_MODELS}/{ONDA.hessian.backbone}.safetensors",
    output:
        f"{ONDA_METRICS}/hessian.json",
    log:
        f"{LOGS}/onda/hessian.log",
    benchmark:
        f"{BENCHMARKS}/onda/hessian.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(240),
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        settings=as_json(
            hessian=ONDA.hessian,
            calibration=ONDA.calibration,
            finetuning=ONDA.finetuning,
            pruning=ONDA.pruning,
        ),
    message:
        "Checking the estimate of the Hessian's trace"
    shell:
        "edgekws onda hessian {input.encoder} {input.words} {output} --seed {params.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule onda_cost:
    input:
        encoder=f"{ONDA_MODELS}/{ONDA.cost.backbone}.safetensors",
    output:
        f"{ONDA_METRICS}/cost.json",
    log:
        f"{LOGS}/onda/cost.log",
    benchmark:
        f"{BENCHMARKS}/onda/cost.tsv"
    threads: alone(ONDA.cost.threads)
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(240),
    params:
        threads=f"--threads {ONDA.cost.threads}",
        seed=SETTINGS.seed,
        settings=as_json(cost=ONDA.cost, calibration=ONDA.calibration, finetuning=ONDA.finetuning, pruning=ONDA.pruning),
    message:
        "Timing adaptation and inference, pruned against unpruned"
    shell:
        "edgekws onda cost {input.encoder} {output} --seed {params.seed} --settings {params.settings:q} {params.threads}"
        " &> {log}"


rule onda_figures:
    input:
        notebook="notebooks/onda.ipynb",
        claims="claims/onda.yaml",
        metrics=PAPERS["onda"].metrics,
    output:
        notebook=f"{RUN}/notebooks/onda.ipynb",
        captions=f"{RUN}/figures/onda.json",
        figures=figures_of(PAPERS["onda"]),
    log:
        f"{LOGS}/onda/figures.log",
    benchmark:
        f"{BENCHMARKS}/onda/figures.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(20),
    params:
        metrics=ONDA_METRICS,
        figures=f"{RUN}/figures",
    message:
        "Drawing the figures of OnDA"
    shell:
        "edgekws report notebook {input.notebook} {output.notebook} -p metrics={params.metrics}"
        " -p claims={input.claims} -p figures={params.figures} &> {log}"
