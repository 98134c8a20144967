"""Loihi: the arms of NeuEdge in the chip's integers, simulated, checked by Lava, measured by others.

Inputs: models of neuedge.smk, features, and environments built from envs/{lava,neurobench,sanafe}.txt.
Outputs: results/<run>/metrics/neuedge/ablation/seed<n>.json, referee.json, second_opinion.json; results/<run>/models/loihi.
An environment that cannot be built does not stop the run: its figures are then marked "not run", with the reason.
"""


rule loihi:
    """The trained nets in Loihi's integers and as NIR graphs, checked by Lava."""
    input:
        expand(
            f"{RUN}/models/loihi/{{arm}}_seed{SETTINGS.seeds[0]}.{{format}}",
            arm=["hybrid", "mapped"],
            format=["safetensors", "nir"],
        ),
        f"{NEUEDGE_METRICS}/referee.json",
    localrule: True


rule tool_environment:
    input:
        "envs/{tool}.txt",
    output:
        directory(".envs/{tool}"),
    log:
        f"{LOGS}/tool_environment/{{tool}}.log",
    benchmark:
        f"{BENCHMARKS}/tool_environment/{{tool}}.tsv"
    wildcard_constraints:
        tool="lava|neurobench|sanafe|flower|bench",
    # From the network or this machine alone: a node of a cluster may reach neither.
    localrule: True
    threads: 1
    resources:
        mem_mb=more_memory(500),
        runtime=more_time(30),
    message:
        "Building the environment of {wildcards.tool}"
    shell:
        "envs/tool {wildcards.tool} {output} &> {log}"


rule loihi_export:
    input:
        f"{NEUEDGE_MODELS}/{{arm}}_seed{{seed}}.safetensors",
    output:
        integers=f"{RUN}/models/loihi/{{arm}}_seed{{seed}}.safetensors",
        nir=f"{RUN}/models/loihi/{{arm}}_seed{{seed}}.nir",
    log:
        f"{LOGS}/loihi/export_{{arm}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/loihi/export_{{arm}}_seed{{seed}}.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    message:
        "Exporting {wildcards.arm} of seed {wildcards.seed} to Loihi's integers and to NIR"
    shell:
        "edgekws loihi export {input} {output.integers} --nir {output.nir} &> {log}"


rule loihi_measure:
    input:
        features=f"{RUN}/features/neuedge.npy",
        index=f"{RUN}/corpus/index.parquet",
        noise=f"{RUN}/features/neuedge_noise.npy",
        table=f"{RUN}/features/neuedge_noise.parquet",
        models=expand(f"{NEUEDGE_MODELS}/{{arm}}_seed{{{{seed}}}}.safetensors", arm=NEUEDGE_ARMS),
    output:
        f"{NEUEDGE_METRICS}/ablation/seed{{seed}}.json",
    log:
        f"{LOGS}/loihi/measure_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/loihi/measure_seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(240),
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
        "edgekws loihi measure {input.features} {input.index} {input.noise} {output} {input.models}"
        " --seed {wildcards.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule loihi_referee:
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
        f"{LOGS}/loihi/referee.log",
    benchmark:
        f"{BENCHMARKS}/loihi/referee.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
        settings=as_json(NEUEDGE.referee),
    message:
        "Letting Lava check every spike of the integer simulation"
    shell:
        "edgekws loihi referee {input.features} {input.index} {input.environment} {output} {input.models}"
        " --seed {params.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule loihi_second_opinion:
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
        f"{LOGS}/loihi/second_opinion.log",
    benchmark:
        f"{BENCHMARKS}/loihi/second_opinion.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000),
        runtime=more_time(60),
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
        "edgekws loihi second-opinion {input.features} {input.index} {input.neurobench} {input.sanafe} {output}"
        " {input.model} --seed {params.seed} --settings {params.settings:q} {params.threads} &> {log}"
