"""OnDA: the wake-word corpus, its encoders, and personalisation that prunes channels.

Inputs: nothing (embedded corpus) or the archives that the settings name; the run's words for pre-training.
Outputs: results/<run>/metrics/onda/{<experiment>,hessian,cost}.json, results/<run>/models/onda.
"""

from edgekws.methods.onda.settings import CLEAN, PUBLISHED, UNPRUNED
from edgekws.models.choices import Backbone
from edgekws.run.inputs import state_of

ONDA = SETTINGS.onda
ONDA_METRICS = f"{RUN}/metrics/onda"
ONDA_MODELS = f"{RUN}/models/onda"
PAPERS["onda"] = Paper(
    title="OnDA",
    metrics=expand(
        f"{ONDA_METRICS}/{{experiment}}.json",
        experiment=[*ONDA.experiments, "hessian", "cost", *(["rivals"] if ONDA.rivals.experiments else [])],
    ),
    figures={
        "pareto": "accuracy at 0.5 false alarms per hour against size, by schedule and encoder",
        "personalisation_gain": "what adapting and pruning gives every user",
        "detection_error": "misses against false alarms per hour, and the threshold a device would use",
        "conditions": "accuracy against size, clean and in noise, by condition",
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
    condition="|".join(SETTINGS.onda.conditions) or "none",


def percent(share):
    """How a share is named in files: 0.25 is 25."""
    return f"{100 * share:g}"


# What is fetched by DVC where the settings name no path of its own.
OPEN_RECORDINGS = "data/open_wake_words/recordings"
LIBRISPEECH = "data/librispeech/test-clean.tar.gz"
PUBLISHED_ENCODERS = "data/encoders/published"
# Folders that a person names: Snakemake does not look into them.
ONDA_FOLDERS = {
    "corpus": [state_of(path) for path in (ONDA.corpus.archive, ONDA.corpus.positives, *ONDA.corpus.speech)],
    "words": state_of(ONDA.pretraining.words),
    "noise": state_of(ONDA.pretraining.noise),
}


def wake_words_of_run(wildcards):
    """The archives of wake-word speech this run reads."""
    corpus = ONDA.corpus
    if corpus.name == "synthetic":
        return {"archive": f"{RUN}/corpus/wake_words.tar"}
    if corpus.name == "open":
        given = {"archive": corpus.archive or OPEN_RECORDINGS, "speech": corpus.speech or [LIBRISPEECH]}
        return given | ({"speakers": corpus.speakers} if corpus.speakers else {})
    given = {"archive": corpus.archive}
    if corpus.name == "heysnapdragon":
        given["positives"] = corpus.positives
    return given


def option_if(name, path):
    """A command's option where there is a path for it, once for each where there are several."""
    paths = [path] if isinstance(path, str) else path or []
    return " ".join(f"--{name} {shlex.quote(str(each))}" for each in paths)


def listing_verb():
    """The command that lists the wake-word speech."""
    return "index-open-words" if ONDA.corpus.name == "open" else "index-wake-words"


def words_of_run(wildcards):
    """What the words for pre-training come from: MSWC, which is a folder, spoken ones, or the run's own archive."""
    if ONDA.pretraining.words:
        return {}
    if ONDA.spoken_words:
        return {"archive": f"{RUN}/corpus/onda_words.tar", "index": f"{RUN}/corpus/onda_words.parquet"}
    return {"archive": archive_of_run(wildcards), "index": f"{RUN}/corpus/index.parquet"}


def encoder_of(experiment, offline):
    """The encoder an experiment starts from: pre-trained, or pruned before deployment."""
    backbone = ONDA.experiments[experiment].backbone
    return f"{ONDA_MODELS}/{backbone}{f'_offline{offline}' if float(offline) else ''}.safetensors"


def conditions_of(experiment):
    """The conditions, besides the clean one, under which an experiment hears its utterances."""
    experiment = ONDA.experiments[experiment]
    return sorted({*experiment.conditions, experiment.stream, experiment.learning or CLEAN} - {CLEAN})


def windows_under(conditions):
    """The files of windows under some conditions."""
    return [
        f"{RUN}/features/onda_{condition}{file}"
        for condition in conditions
        for file in (".npy", ".parquet", "_crops.npy")
    ]


def jobs_of(wildcards):
    """The parts that an experiment is aggregated from."""
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


# What a window costs: multiply-accumulates of the encoders, unpruned (edgekws.models.encoder.multiply_accumulates).
ONDA_WINDOW = {
    "ds_cnn_s": 2_549_760,
    "ds_cnn_m": 9_122_880,
    "ds_cnn_l": 26_247_600,
    "resnet15": 225_509_760,
    "resnet15_narrow": 19_931_760,
}
ONDA_BATCH = ONDA.finetuning.positives + ONDA.calibration.recordings + ONDA.finetuning.negatives
WAKE_WORDS = edgekws_speech.wake_words_of(ONDA)
ONDA_SPOKEN = edgekws_speech.synthetic_clips(ONDA.spoken_words) if ONDA.spoken_words else (0, 0, 0)
if ONDA.pretraining.words is not None:
    ONDA_WORDS, ONDA_CLIPS = ONDA.pretraining.vocabulary, 1000 * ONDA.pretraining.vocabulary
elif ONDA.spoken_words:
    ONDA_WORDS, ONDA_CLIPS = len(ONDA.spoken_words.words), sum(ONDA_SPOKEN[:2])
else:
    ONDA_WORDS, ONDA_CLIPS = SPEECH.words, SPEECH.train + SPEECH.validation


def pretraining_units(backbone, episodes, left=1.0):
    """Updates of an encoder of which pruning has left that share of the channels; a clip is made noisy, too."""
    clips = min(ONDA.pretraining.classes, ONDA_WORDS) * ONDA.pretraining.clips
    return int(episodes * clips * (3 * left**2 * ONDA_WINDOW[backbone] + 30_000_000))


def hessian_units(backbone, probes):
    """A Hessian trace: every mini-batch forward and back, and the probes."""
    return (3 * ONDA.pruning.batches + 4 * probes) * ONDA_BATCH * ONDA_WINDOW[backbone]


def adaptation_units(experiment, users):
    """Every schedule and ratio for some users, and the windows as the encoder hears them before it adapts."""
    scanned, settings = ONDA.evaluation, ONDA.finetuning
    share = 1 if scanned.screen_every == 1 else min(1, 1 / scanned.screen_every + scanned.screen_share)
    positives = min(WAKE_WORDS.positives, settings.most_positives or math.inf)
    scans = 1 + len(experiment.conditions)
    turn = (
        scans * share * WAKE_WORDS.test_windows + settings.epochs * (positives // settings.positives) * ONDA_BATCH * 3
    )
    unpruned = len(UNPRUNED & set(experiment.schedules))
    if "more_updates" in experiment.schedules:
        unpruned += settings.more - 1
    pruned = len(set(experiment.schedules) - UNPRUNED) * sum((1 - ratio) ** 2 for ratio in experiment.ratios)
    ranked = sum(
        schedule in ("onda_1", "oracle_onda_1", "hap_wrong_domain", "hap_after") for schedule in experiment.schedules
    )
    each = turn * (unpruned + pruned) * ONDA_WINDOW[experiment.backbone]
    once = (scans * WAKE_WORDS.test_windows + WAKE_WORDS.stream_windows) * ONDA_WINDOW[experiment.backbone]
    return once + users * (each + ranked * hessian_units(experiment.backbone, ONDA.pruning.probes))


def personalise_units(wildcards):
    """The users that are dealt to a job; channels pruned before deployment are left out."""
    experiment = ONDA.experiments[wildcards.experiment]
    users = min(WAKE_WORDS.users, experiment.users or WAKE_WORDS.users)
    mine = len(range(int(wildcards.part), users, experiment.parts))
    return int((1 - float(wildcards.share) / 100) ** 2 * adaptation_units(experiment, mine)) if mine else 0


def onda_rows(wildcards):
    """Values that an experiment is aggregated from."""
    experiment = ONDA.experiments[wildcards.experiment]
    users, seeds = min(WAKE_WORDS.users, experiment.users or WAKE_WORDS.users), experiment.seeds or SETTINGS.seeds
    return users * len(experiment.offline) * len(seeds) * len(experiment.schedules) * len(experiment.ratios)


def rival_conditions():
    """The conditions, besides the clean one, of the experiments that other detectors are measured on."""
    known = {name for each in ONDA.rivals.experiments for name in ONDA.experiments[each].conditions}
    return sorted(known if ONDA.rivals.conditions is None else known & set(ONDA.rivals.conditions))


def rival_units(wildcards):
    """Every test window of every user, draw and condition against each recording, along the band."""
    experiments = [ONDA.experiments[each] for each in ONDA.rivals.experiments]
    scans = sum(
        min(WAKE_WORDS.users, each.users or WAKE_WORDS.users)
        * len(each.seeds or SETTINGS.seeds)
        * (1 + len(rival_conditions()))
        for each in experiments
    )
    return scans * WAKE_WORDS.test_windows * ONDA.calibration.recordings * (2 * ONDA.rivals.band + 1) * 47 * 10


# Both make the same files: the settings say which is meant.
if ONDA.encoders.source == "published":

    ruleorder: onda_import > onda_pretrain

else:

    ruleorder: onda_pretrain > onda_import


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
    priority: 3
    threads: 2
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
        units=WAKE_WORDS.seconds,
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
    priority: 3
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=WAKE_WORDS.seconds,
    params:
        verb=listing_verb(),
        positives=lambda wildcards, input: option_if("positives", input.get("positives")),
        speakers=lambda wildcards, input: option_if("speakers", input.get("speakers")),
        speech=lambda wildcards, input: option_if("speech", input.get("speech")),
        contents=ONDA_FOLDERS["corpus"],
    message:
        "Listing the utterances of {input.archive}"
    shell:
        "edgekws corpus {params.verb} {input.archive:q} {output} {params.positives} {params.speakers} {params.speech} &> {log}"


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
    priority: 3
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(120),
        units=WAKE_WORDS.test_windows + WAKE_WORDS.stream_windows,
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        positives=lambda wildcards, input: option_if("positives", input.get("positives")),
        speech=lambda wildcards, input: option_if("speech", input.get("speech")),
        contents=ONDA_FOLDERS["corpus"],
        settings=as_json(windows=ONDA.windows, corpus=ONDA.corpus),
    message:
        "Extracting MFCC of every window"
    shell:
        "edgekws onda features {input.archive:q} {input.index} {output.windows} --seed {params.seed} {params.positives}"
        " {params.speech}"
        " --settings {params.settings:q} {params.threads} &> {log}"


use rule onda_features as onda_features_elsewhere with:
    input:
        unpack(wake_words_of_run),
        index=f"{RUN}/corpus/wake_words.parquet",
        noise=lambda wildcards: ONDA.corpus.noise or archive_of_run(wildcards),
    output:
        windows=f"{RUN}/features/onda_{{condition}}.npy",
        crops=f"{RUN}/features/onda_{{condition}}_crops.npy",
        table=f"{RUN}/features/onda_{{condition}}.parquet",
    log:
        f"{LOGS}/onda/features_{{condition}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/features_{{condition}}.tsv"
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        positives=lambda wildcards, input: " ".join(
            [
                option_if("positives", input.get("positives")),
                f"--condition {wildcards.condition} --noise {shlex.quote(str(input.noise))}",
            ]
        ),
        settings=lambda wildcards: as_json(
            windows=ONDA.windows,
            corpus=ONDA.corpus,
            conditions={wildcards.condition: ONDA.conditions[wildcards.condition]},
        ),
    message:
        "Extracting MFCC of every window under the condition {wildcards.condition}"


rule onda_engine:
    input:
        unpack(wake_words_of_run),
        index=f"{RUN}/corpus/wake_words.parquet",
    output:
        f"{RUN}/features/onda_engine.parquet",
    log:
        f"{LOGS}/onda/engine.log",
    benchmark:
        f"{BENCHMARKS}/onda/engine.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(120),
        units=WAKE_WORDS.seconds,
    params:
        seed=SETTINGS.seed,
        elsewhere="",
        speech=lambda wildcards, input: option_if("speech", input.get("speech")),
        contents=ONDA_FOLDERS["corpus"],
        settings=as_json(windows=ONDA.windows, corpus=ONDA.corpus, rivals=ONDA.rivals),
    message:
        "Listening with a keyword engine from pip"
    shell:
        "edgekws onda engine {input.archive:q} {input.index} {output} --seed {params.seed} {params.elsewhere} {params.speech}"
        " --settings {params.settings:q} &> {log}"


use rule onda_engine as onda_engine_elsewhere with:
    input:
        unpack(wake_words_of_run),
        index=f"{RUN}/corpus/wake_words.parquet",
        noise=lambda wildcards: ONDA.corpus.noise or archive_of_run(wildcards),
    output:
        f"{RUN}/features/onda_{{condition}}_engine.parquet",
    log:
        f"{LOGS}/onda/engine_{{condition}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/engine_{{condition}}.tsv"
    params:
        seed=SETTINGS.seed,
        elsewhere=lambda wildcards, input: f"--condition {wildcards.condition} --noise {shlex.quote(str(input.noise))}",
        speech=lambda wildcards, input: option_if("speech", input.get("speech")),
        contents=ONDA_FOLDERS["corpus"],
        settings=lambda wildcards: as_json(
            windows=ONDA.windows,
            corpus=ONDA.corpus,
            rivals=ONDA.rivals,
            conditions={wildcards.condition: ONDA.conditions[wildcards.condition]},
        ),
    message:
        "Listening with a keyword engine from pip under the condition {wildcards.condition}"


rule onda_rivals:
    input:
        experiments=expand(f"{ONDA_METRICS}/{{experiment}}.json", experiment=ONDA.rivals.experiments),
        windows=[f"{RUN}/features/onda{file}" for file in (".npy", ".parquet", "_crops.npy")],
        elsewhere=windows_under(rival_conditions()),
        engine=[
            f"{RUN}/features/onda{condition}_engine.parquet"
            for condition in ("", *(f"_{name}" for name in rival_conditions()))
            if ONDA.rivals.engine
        ],
    output:
        f"{ONDA_METRICS}/rivals.json",
    log:
        f"{LOGS}/onda/rivals.log",
    benchmark:
        f"{BENCHMARKS}/onda/rivals.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000, mapped=True),
        runtime=more_time(240),
        units=rival_units,
    params:
        threads=THREADS,
        settings=as_json(ONDA.rivals),
    message:
        "Holding the experiments against what a user could take instead"
    shell:
        "edgekws onda rivals {input.windows[0]} {output} {input.experiments} --settings {params.settings:q} {params.threads}"
        " &> {log}"


rule speak_onda_words:
    output:
        archive=f"{RUN}/corpus/onda_words.tar",
        index=f"{RUN}/corpus/onda_words.parquet",
    log:
        f"{LOGS}/onda/speak_words.log",
    benchmark:
        f"{BENCHMARKS}/onda/speak_words.tsv"
    priority: 3
    threads: 2
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
        units=sum(ONDA_SPOKEN),
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
        unpack(words_of_run),
    output:
        words=f"{RUN}/features/onda_words.npy",
        table=f"{RUN}/features/onda_words.parquet",
    log:
        f"{LOGS}/onda/words.log",
    benchmark:
        f"{BENCHMARKS}/onda/words.tsv"
    priority: 3
    threads: 1
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(240),
        units=ONDA_CLIPS,
    params:
        settings=ONDA.pretraining.model_dump_json(include={"words", "vocabulary", "without"}),
        archive=lambda wildcards, input: option_if("archive", input.get("archive")),
        index=lambda wildcards, input: option_if("index", input.get("index")),
        contents=ONDA_FOLDERS["words"],
    message:
        "Packing the words for pre-training"
    shell:
        "edgekws onda words {output.words} {params.archive} {params.index} --settings {params.settings:q} &> {log}"


rule fetch_open_wake_words:
    input:
        f"{OPEN_RECORDINGS}.dvc",
    output:
        directory(OPEN_RECORDINGS),
    log:
        f"{LOGS}/onda/fetch_open_wake_words.log",
    benchmark:
        f"{BENCHMARKS}/onda/fetch_open_wake_words.tsv"
    # From the network alone, which a node of a cluster may not reach; so with the others that fetch.
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
        dvc=1,
    message:
        "Fetching the open wake words (200 MB) with DVC and verifying them"
    shell:
        "edgekws corpus fetch {input:q} &> {log:q}"


rule fetch_librispeech:
    input:
        f"{LIBRISPEECH}.dvc",
    output:
        LIBRISPEECH,
    log:
        f"{LOGS}/onda/fetch_librispeech.log",
    benchmark:
        f"{BENCHMARKS}/onda/fetch_librispeech.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(60),
        dvc=1,
    message:
        "Fetching LibriSpeech test-clean (350 MB) with DVC and verifying it"
    shell:
        "edgekws corpus fetch {input:q} &> {log:q}"


rule fetch_encoders:
    input:
        f"{PUBLISHED_ENCODERS}.dvc",
    output:
        directory(PUBLISHED_ENCODERS),
    log:
        f"{LOGS}/onda/fetch_encoders.log",
    benchmark:
        f"{BENCHMARKS}/onda/fetch_encoders.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(30),
        dvc=1,
    message:
        "Fetching the published encoders (5 MB) with DVC and verifying them"
    shell:
        "edgekws corpus fetch {input:q} &> {log:q}"


rule onda_import:
    """Step. Reading an encoder that the base pipeline published."""
    input:
        ONDA.encoders.folder or PUBLISHED_ENCODERS,
    output:
        f"{ONDA_MODELS}/{{backbone}}.safetensors",
    log:
        f"{LOGS}/onda/import_{{backbone}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/import_{{backbone}}.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        published=lambda wildcards, input: f"{input[0]}/{PUBLISHED[wildcards.backbone]}",
        contents=state_of(ONDA.encoders.folder),
    message:
        "Reading the published {wildcards.backbone}"
    shell:
        "edgekws onda import {params.published:q} {output} &> {log}"


rule onda_pretrain:
    input:
        words=f"{RUN}/features/onda_words.npy",
    output:
        f"{ONDA_MODELS}/{{backbone}}.safetensors",
    log:
        f"{LOGS}/onda/pretrain_{{backbone}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/pretrain_{{backbone}}.tsv"
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(4320),
        gpu=GPUS,
        units=lambda wildcards: pretraining_units(wildcards.backbone, pretraining_of(wildcards).episodes),
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seed,
        settings=lambda wildcards: as_json(pretraining_of(wildcards)),
        contents=ONDA_FOLDERS["noise"],
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
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(1440),
        gpu=GPUS,
        units=lambda wildcards: pretraining_units(
            wildcards.backbone, ONDA.pruning.retrain_episodes, 1 - float(wildcards.share) / 100
        ),
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seed,
        share=lambda wildcards: float(wildcards.share) / 100,
        settings=lambda wildcards: as_json(pretraining=pretraining_of(wildcards), pruning=ONDA.pruning),
        contents=ONDA_FOLDERS["noise"],
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
        elsewhere=lambda wildcards: windows_under(conditions_of(wildcards.experiment)),
    output:
        f"{ONDA_METRICS}/{{experiment}}/offline{{share}}_seed{{seed}}_part{{part}}.json",
    log:
        f"{LOGS}/onda/{{experiment}}_offline{{share}}_seed{{seed}}_part{{part}}.log",
    benchmark:
        f"{BENCHMARKS}/onda/{{experiment}}_offline{{share}}_part{{part}}_seed{{seed}}.tsv"
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(1440),
        gpu=GPUS,
        units=personalise_units,
    params:
        threads=TRAINS_ON,
        share=lambda wildcards: float(wildcards.share) / 100,
        settings=lambda wildcards: as_json(
            # A job has one seed and one offline share: which others there are does not matter to it.
            experiment=ONDA.experiments[wildcards.experiment].model_copy(update={"seeds": None, "offline": [0.0]}),
            calibration=ONDA.calibration,
            finetuning=ONDA.finetuning,
            robust=ONDA.robust,
            distillation=ONDA.distillation,
            pruning=ONDA.pruning,
            precision=ONDA.precision,
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
        units=lambda wildcards: onda_rows(wildcards) * SETTINGS.statistics.resamples,
    params:
        settings=as_json(evaluation=ONDA.evaluation, statistics=SETTINGS.statistics),
    message:
        "Aggregating {wildcards.experiment}"
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
        gpu=GPUS,
        units=int(
            adaptation_units(
                ONDA.experiments[ONDA.adapted_as].model_copy(
                    update={"schedules": ["onda_1"], "ratios": ONDA.experiments[ONDA.adapted_as].ratios[:1]}
                ),
                1,
            )
        ),
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seeds[0],
        ratio=ONDA.experiments[ONDA.adapted_as].ratios[0],
        settings=as_json(
            calibration=ONDA.calibration, finetuning=ONDA.finetuning, pruning=ONDA.pruning, precision=ONDA.precision
        ),
    message:
        "Adapting and pruning the encoder for one user"
    shell:
        "edgekws adapt {input.features} {input.encoder} {output} --schedule onda_1 --ratio {params.ratio}"
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
        gpu=GPUS,
        units=ONDA.hessian.repetitions
        * sum(hessian_units(ONDA.hessian.backbone, probes) for probes in ONDA.hessian.probes),
    params:
        threads=TRAINS_ON,
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
        units=hessian_units(ONDA.cost.backbone, ONDA.pruning.probes)
        + (1 + len(ONDA.cost.ratios))
        * (ONDA.cost.warm_up + ONDA.cost.inferences + 3 * ONDA.cost.steps * ONDA_BATCH)
        * ONDA_WINDOW[ONDA.cost.backbone],
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
    priority: 1
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
