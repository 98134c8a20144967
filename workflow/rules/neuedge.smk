"""NeuEdge: features, the encoder swept, the arms trained, and their ablation.

Inputs: the corpus' archive and index.
Outputs: results/<run>/metrics/neuedge/{encoding,utilisation,ablation}.json, results/<run>/models/neuedge.
On the simulated chip: results/<run>/metrics/neuedge/{ablation/seed<n>,referee,second_opinion}.json, models/neuedge/loihi.
"""

from edgekws.methods.neuedge.choices import NeuEdgeArm

NEUEDGE = SETTINGS.neuedge
NEUEDGE_METRICS = f"{RUN}/metrics/neuedge"
NEUEDGE_MODELS = f"{RUN}/models/neuedge"

NEUEDGE_ARMS = list(get_args(NeuEdgeArm))
PAPERS["neuedge"] = Paper(
    title="NeuEdge",
    metrics=expand(
        f"{NEUEDGE_METRICS}/{{experiment}}.json",
        experiment=["encoding", "utilisation", "ablation", "referee", "second_opinion"],
    ),
    figures={
        "encoder_grid": "what base threshold and alpha do to spikes, bits and accuracy",
        "ablation": "from the rate code to the full system",
        "adaptive_threshold": "accuracy and energy against the gain of the adaptive threshold",
        "noise": "fixed and adaptive thresholds under background noise",
        "mapping": "the chip before and after its mapping is optimised",
        "utilisation": "utilisation against layer sizes, on every chip",
        "energy": "every term of the energy, by price set",
        "loihi": "Lava's check of the integer simulator; accuracy in float and integers",
    },
    models=[f"{RUN}/models/neuedge/loihi/mapped_seed{SETTINGS.seeds[0]}.safetensors"],
)


# What a clip costs: multiply-accumulates of the spiking net at every step.
NEUEDGE_SIZES = [NEUEDGE.features.mels * (3 if NEUEDGE.encoder.lag else 1), *NEUEDGE.network.hidden, SPEECH.words]
NEUEDGE_CLIP = (16_000 // NEUEDGE.features.hop // NEUEDGE.features.pool) * sum(
    before * after for before, after in zip(NEUEDGE_SIZES, NEUEDGE_SIZES[1:])
)


wildcard_constraints:
    arm="|".join(NEUEDGE_ARMS),


rule neuedge:
    """Everything of the paper but the report: metrics and figures of every experiment, Loihi included."""
    input:
        PAPERS["neuedge"].metrics,
        f"{RUN}/notebooks/neuedge.ipynb",
    localrule: True


rule neuedge_features:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
    output:
        features=f"{RUN}/features/neuedge.npy",
        scale=f"{RUN}/features/neuedge.json",
    log:
        f"{LOGS}/neuedge/features.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/features.tsv"
    priority: 3
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    params:
        threads=THREADS,
        settings=as_json(NEUEDGE.features),
    message:
        "Extracting log-mel features from 0 to 1"
    shell:
        "edgekws neuedge features {input.archive:q} {input.index} {output.features}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_noise:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
        scale=f"{RUN}/features/neuedge.json",
    output:
        features=f"{RUN}/features/neuedge_noise.npy",
        table=f"{RUN}/features/neuedge_noise.parquet",
    log:
        f"{LOGS}/neuedge/noise.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/noise.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        settings=as_json(NEUEDGE.noise),
    message:
        "Adding background noise to test clips"
    shell:
        "edgekws neuedge noise {input.archive:q} {input.index} {input.scale} {output.features} --seed {params.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_encode:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
    output:
        f"{NEUEDGE_METRICS}/encoding.json",
    log:
        f"{LOGS}/neuedge/encode.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/encoding.tsv"
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(480),
        gpu=GPUS,
        units=(1 + len(NEUEDGE.grid.base_threshold) * len(NEUEDGE.grid.alpha))
        * (3 * NEUEDGE.grid.epochs * SPEECH.train + SPEECH.validation)
        * NEUEDGE_CLIP,
    params:
        threads=TRAINS_ON,
        seed=SETTINGS.seeds[0],
        settings=as_json(
            encoder=NEUEDGE.encoder,
            grid=NEUEDGE.grid,
            network=NEUEDGE.network,
            training=NEUEDGE.training,
        ),
    message:
        "Sweeping the encoder's base threshold and alpha"
    shell:
        "edgekws neuedge encode {input.features} {input.index} {output} --seed {params.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_train:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
    output:
        f"{NEUEDGE_MODELS}/{{arm}}_seed{{seed}}.safetensors",
    log:
        f"{LOGS}/neuedge/{{arm}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/{{arm}}_seed{{seed}}.tsv"
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(480),
        gpu=GPUS,
        units=NEUEDGE.training.epochs * SPEECH.train * NEUEDGE_CLIP,
    params:
        threads=TRAINS_ON,
        settings=lambda wildcards: as_json(NEUEDGE.of_arm(wildcards.arm)),
    message:
        "Training the arm {wildcards.arm} of seed {wildcards.seed}"
    shell:
        "edgekws neuedge train {input.features} {input.index} {output} --arm {wildcards.arm} --seed {wildcards.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_utilisation:
    output:
        f"{NEUEDGE_METRICS}/utilisation.json",
    log:
        f"{LOGS}/neuedge/utilisation.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/utilisation.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(30),
        units=len(NEUEDGE.hardware.sweep_chips) * sum(NEUEDGE.hardware.widths),
    params:
        settings=as_json(NEUEDGE.hardware),
    message:
        "Mapping networks of many sizes onto every chip"
    shell:
        "edgekws neuedge utilisation {output} --settings {params.settings:q} &> {log}"


rule neuedge_summarise:
    input:
        expand(f"{NEUEDGE_METRICS}/ablation/seed{{seed}}.json", seed=SETTINGS.seeds),
    output:
        f"{NEUEDGE_METRICS}/ablation.json",
    log:
        f"{LOGS}/neuedge/ablation.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/ablation.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=len(SETTINGS.seeds) * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating the ablation"
    shell:
        "edgekws neuedge summarise {output} {input} --settings {params.settings:q} &> {log}"


rule neuedge_figures:
    input:
        notebook="notebooks/neuedge.ipynb",
        claims="claims/neuedge.yaml",
        metrics=PAPERS["neuedge"].metrics,
    output:
        notebook=f"{RUN}/notebooks/neuedge.ipynb",
        captions=f"{RUN}/figures/neuedge.json",
        figures=figures_of(PAPERS["neuedge"]),
    log:
        f"{LOGS}/neuedge/figures.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/figures.tsv"
    priority: 1
    threads: 1
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(20),
    params:
        metrics=NEUEDGE_METRICS,
        figures=f"{RUN}/figures",
    message:
        "Drawing the figures of NeuEdge"
    shell:
        "edgekws report notebook {input.notebook} {output.notebook} -p metrics={params.metrics}"
        " -p claims={input.claims} -p figures={params.figures} &> {log}"


# Loihi: the arms in the chip's integers, simulated, checked by Lava, measured by others.
rule neuedge_loihi:
    """The trained nets in Loihi's integers and as NIR graphs, checked by Lava."""
    input:
        expand(
            f"{RUN}/models/neuedge/loihi/{{arm}}_seed{SETTINGS.seeds[0]}.{{format}}",
            arm=["hybrid", "mapped"],
            format=["safetensors", "nir"],
        ),
        f"{NEUEDGE_METRICS}/referee.json",
    localrule: True


rule neuedge_export:
    input:
        f"{NEUEDGE_MODELS}/{{arm}}_seed{{seed}}.safetensors",
    output:
        integers=f"{RUN}/models/neuedge/loihi/{{arm}}_seed{{seed}}.safetensors",
        nir=f"{RUN}/models/neuedge/loihi/{{arm}}_seed{{seed}}.nir",
    log:
        f"{LOGS}/neuedge/export_{{arm}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/export_{{arm}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=0,
    message:
        "Exporting {wildcards.arm} of seed {wildcards.seed} to Loihi's integers and to NIR"
    shell:
        "edgekws neuedge export {input} {output.integers} --nir {output.nir} &> {log}"


rule neuedge_measure:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
        noise=f"{RUN}/features/neuedge_noise.npy",
        table=f"{RUN}/features/neuedge_noise.parquet",
        models=expand(f"{NEUEDGE_MODELS}/{{arm}}_seed{{{{seed}}}}.safetensors", arm=NEUEDGE_ARMS),
    output:
        f"{NEUEDGE_METRICS}/ablation/seed{{seed}}.json",
    log:
        f"{LOGS}/neuedge/measure_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/measure_seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(240),
        units=(
            (7 + 2 * len(NEUEDGE.adaptive.gamma)) * SPEECH.test
            + 3 * (len(NEUEDGE.noise.snr_db) + 1) * min(NEUEDGE.noise.clips, SPEECH.test)
        )
        * NEUEDGE_CLIP,
    params:
        threads=THREADS,
        settings=as_json(
            encoder=NEUEDGE.encoder,
            grid=NEUEDGE.grid,
            hardware=NEUEDGE.hardware,
            adaptive=NEUEDGE.adaptive,
        ),
    message:
        "Running the arms of seed {wildcards.seed} on the simulated chip"
    shell:
        "edgekws neuedge measure {input.features} {input.index} {input.noise} {output} {input.models}"
        " --seed {wildcards.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_referee:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
        # When it was built does not matter, what it was built from does.
        environment=ancient(".envs/lava"),
        lock="envs/lava.txt",
        models=expand(f"{NEUEDGE_MODELS}/{{arm}}_seed{SETTINGS.seeds[0]}.safetensors", arm=["hybrid", "mapped"]),
    output:
        f"{NEUEDGE_METRICS}/referee.json",
    log:
        f"{LOGS}/neuedge/referee.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/referee.tsv"
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=min(NEUEDGE.referee.clips, SPEECH.test),
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        settings=as_json(NEUEDGE.referee),
    message:
        "Letting Lava check every spike of the integer simulation"
    shell:
        "edgekws neuedge referee {input.features} {input.index} {input.environment} {output} {input.models}"
        " --seed {params.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule neuedge_second_opinion:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
        neurobench=ancient(".envs/neurobench"),
        sanafe=ancient(".envs/sanafe"),
        locks=["envs/neurobench.txt", "envs/sanafe.txt"],
        model=f"{NEUEDGE_MODELS}/mapped_seed{SETTINGS.seeds[0]}.safetensors",
    output:
        f"{NEUEDGE_METRICS}/second_opinion.json",
    log:
        f"{LOGS}/neuedge/second_opinion.log",
    benchmark:
        f"{BENCHMARKS}/neuedge/second_opinion.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(60),
        units=min(NEUEDGE.referee.clips, SPEECH.test),
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        settings=as_json(
            encoder=NEUEDGE.encoder,
            hardware=NEUEDGE.hardware,
            adaptive=NEUEDGE.adaptive,
            referee=NEUEDGE.referee,
        ),
    message:
        "Asking NeuroBench and SANA-FE about the same net"
    shell:
        "edgekws neuedge second-opinion {input.features} {input.index} {input.neurobench} {input.sanafe} {output}"
        " {input.model} --seed {params.seed} --settings {params.settings:q} {params.threads} &> {log}"
