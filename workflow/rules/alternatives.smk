"""What else could adapt the models: local rules, parameter-efficient fine-tuning, limits, forgetting, federated learning.

Inputs: features, plan and base models of Traces Propagation; for the DS-CNN the corpus' archive and index.
Outputs: results/<run>/metrics/alternatives/{adaptation,complexity,cost_*,limits,device,retention,federated}.json.
"""

ALT = SETTINGS.alternatives
ALT_METHODS = {name: ALT.methods[name] for name in ALT.compared or ALT.methods}
ALT_METRICS = f"{RUN}/metrics/alternatives"
ALT_MODELS = f"{RUN}/models/alternatives"
PAPERS["alternatives"] = Paper(
    title="Alternatives",
    metrics=expand(
        f"{ALT_METRICS}/{{experiment}}.json",
        experiment=[
            "adaptation",
            "complexity",
            # In the order of the methods, each kind of net once.
            *dict.fromkeys(f"cost_{method.net}" for method in ALT_METHODS.values()),
            "limits",
            "device",
            "retention",
            "federated",
            "strong",
        ],
    )
    # About a claim of Traces Propagation, so it stands with that paper's.
    + [f"{TP_METRICS}/depth.json"],
    figures={
        "trade_off": "gain of every method against training memory, bytes updated and forgetting",
        "gain_by_shots": "gain of every method by support clips",
        "device_limits": "the widest net that each method trains within a memory",
        "retention": "rehearsal, elastic weights, and users one after another",
        "federated": "accuracy by round, and what privacy costs",
        "strong_bases": "what adapting gains on a strong base",
        "depth": "accuracy and memory of deeper nets, by learning rule",
    },
)


ALT_STRONG_NETS = list(dict.fromkeys(method.net for method in ALT.strong.methods.values()))
ALT_LEVELS = f"{RUN}/features/levels.npy"


def alt_net(wildcards):
    """The kind of net that a method adapts."""
    return ALT.methods[wildcards.method].net


def alt_features(net):
    """What a net hears."""
    return f"{RUN}/features/traces_propagation.npy" if net == "spiking" else f"{RUN}/features/alternatives.npy"


def alt_base(net, seed):
    """Base model of a net and seed."""
    if net == "spiking":
        return f"{TP_MODELS}/base_frozen_seed{seed}.safetensors"
    return f"{ALT_MODELS}/base_{net}_seed{seed}.safetensors"


def alt_learning(name, clips, epochs=ALT.training.epochs):
    """Units of work of learning from so many clips; under a readout the rest of the net runs once."""
    method = ALT.methods[name]
    epochs = 1 if method.kind == "readout" else epochs
    return (
        epochs * clips * 3 * 2_549_760
        if method.net == "ds_cnn"
        else tp_learning(clips, epochs, ALT.training.batch_size)
    )


ALT_PLAN = SETTINGS.protocol.many_users
ALT_POOL = SPEECH.user_clips * (1 - 1 / ALT_PLAN.folds)


def alt_tune_units(wildcards):
    """Every learning rate for every validation user and fold."""
    few = ALT.methods[wildcards.method].users or ALT.tuning.users
    tasks = min(few, ALT.tuning.users, SPEECH.validators) * min(ALT.tuning.folds, ALT_PLAN.folds)
    clips = SPEECH.support(ALT.tuning.shots, ALT_POOL)
    return int(
        tasks
        * len(SETTINGS.seeds)
        * (len(ALT.tuning.learning_rate) + ALT.tuning.widen // 2)
        * alt_learning(wildcards.method, clips)
    )


def alt_adapt_units(wildcards):
    """Every test user, fold and shot: learning, and answers to the user's own and to others' clips."""
    folds = min(ALT.folds or ALT_PLAN.folds, ALT_PLAN.folds)
    asked = 2 * (SPEECH.user_clips - ALT_POOL) + min(ALT.others or SPEECH.test, SPEECH.test) / folds
    asked *= 2_549_760 if alt_net(wildcards) == "ds_cnn" else TP_CLIP / 3
    shots = ALT.shots or ALT_PLAN.shots
    learnt = sum(alt_learning(wildcards.method, SPEECH.support(shot, ALT_POOL)) for shot in shots)
    users = min(ALT.methods[wildcards.method].users or SPEECH.testers, SPEECH.testers)
    return int(users * folds * (learnt + len(shots) * asked))


def alt_retain_units(wildcards):
    """Every remedy for every user, each as dear as adapting once, and users one after another, who learn twice."""
    users = min(ALT.retention.users or SPEECH.testers, SPEECH.testers)
    elastic = ALT.methods[wildcards.method].kind not in ("threshold", "lora", "adapter")
    remedies = 3 + len(ALT.retention.elastic) * elastic
    learnt = remedies * alt_learning(wildcards.method, ALT_POOL)
    return int(
        users * (learnt + sum(alt_learning(wildcards.method, ALT_POOL + kept) for kept in ALT.retention.rehearsal))
    )


def alt_federate_units(wildcards):
    """Steps of all users: every learning rate is tried on some, then each fold runs in the loop and in Flower."""
    chosen = ALT.federated
    validators, testers = (min(chosen.users or some, some) for some in (SPEECH.validators, SPEECH.testers))
    tasks = len(chosen.learning_rates) * validators + 2 * min(chosen.folds, ALT_PLAN.folds) * testers
    # A step under differential privacy costs as much as fifteen without.
    return tasks * chosen.rounds * chosen.steps * (1 + 15 * len(chosen.noise))


rule alternatives:
    """Everything of the bench but the report: what else could adapt the models."""
    input:
        PAPERS["alternatives"].metrics,
        f"{RUN}/notebooks/alternatives.ipynb",
    localrule: True


rule alternatives_features:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
    output:
        f"{RUN}/features/alternatives.npy",
    log:
        f"{LOGS}/alternatives/features.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/features.tsv"
    priority: 3
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    params:
        threads=THREADS,
    message:
        "Extracting MFCC for the DS-CNN"
    shell:
        "edgekws alternatives features {input.archive:q} {input.index} {output} {params.threads} &> {log}"


rule alternatives_base:
    input:
        features=f"{RUN}/features/alternatives.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_one_user.parquet",
        also=also_left_out,
    output:
        f"{ALT_MODELS}/base_ds_cnn_seed{{seed}}.safetensors",
    log:
        f"{LOGS}/alternatives/base_ds_cnn_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/base_ds_cnn_seed{{seed}}.tsv"
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(240),
        units=(3 * ALT.ds_cnn.epochs * SPEECH.train + SPEECH.test) * 2_549_760,
    params:
        threads=THREADS,
        settings=as_json(ALT.ds_cnn),
        also=also_option,
    message:
        "Training the DS-CNN of seed {wildcards.seed}"
    shell:
        "edgekws alternatives base {input.features} {input.index} {input.plan} {output} --seed {wildcards.seed} {params.also}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_tune:
    input:
        features=lambda wildcards: alt_features(alt_net(wildcards)),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        bases=lambda wildcards: [alt_base(alt_net(wildcards), seed) for seed in SETTINGS.seeds],
    output:
        f"{ALT_METRICS}/tuning/{{method}}.json",
    log:
        f"{LOGS}/alternatives/tune_{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/tune_{{method}}.tsv"
    wildcard_constraints:
        method="|".join(ALT.methods),
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=alt_tune_units,
    params:
        threads=THREADS,
        settings=lambda wildcards: as_json(
            methods={wildcards.method: ALT.methods[wildcards.method]},
            training=ALT.training.model_dump(mode="json", exclude={"learning_rate"}),
            tuning=ALT.tuning,
        ),
        more=more_bases,
    message:
        "Choosing the learning rate of {wildcards.method} on the validation users"
    shell:
        "edgekws alternatives tune {input.features} {input.index} {input.plan} {input.bases[0]} {output} {params.more}"
        " --method {wildcards.method} --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_adapt:
    input:
        features=lambda wildcards: alt_features(alt_net(wildcards)),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=lambda wildcards: alt_base(alt_net(wildcards), wildcards.seed),
        budget=f"{ALT_METRICS}/tuning/{{method}}.json",
    output:
        f"{ALT_METRICS}/adaptation/{{method}}_seed{{seed}}.json",
    log:
        f"{LOGS}/alternatives/adaptation/{{method}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/adaptation/{{method}}_seed{{seed}}.tsv"
    wildcard_constraints:
        method="|".join(ALT.methods),
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=alt_adapt_units,
    params:
        threads=THREADS,
        some=" ".join(
            [*(f"--shot {shot}" for shot in ALT.shots or []), *([f"--folds {ALT.folds}"] if ALT.folds else [])]
        ),
        settings=lambda wildcards: as_json(methods={wildcards.method: ALT.methods[wildcards.method]}, others=ALT.others),
    message:
        "Adapting to the users by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "edgekws alternatives adapt {input.features} {input.index} {input.plan} {input.base} {input.budget} {output}"
        " --method {wildcards.method} --seed {wildcards.seed} {params.some}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_summarise:
    input:
        expand(f"{ALT_METRICS}/adaptation/{{method}}_seed{{seed}}.json", method=ALT_METHODS, seed=SETTINGS.seeds),
    output:
        f"{ALT_METRICS}/adaptation.json",
    log:
        f"{LOGS}/alternatives/adaptation.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/adaptation.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=len(ALT_METHODS) * len(SETTINGS.seeds) * SPEECH.testers * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating every method"
    shell:
        "edgekws alternatives summarise {output} {input} --settings {params.settings:q} &> {log}"


rule alternatives_complexity:
    input:
        alt_base("spiking", SETTINGS.seeds[0]),
    output:
        f"{ALT_METRICS}/complexity.json",
    log:
        f"{LOGS}/alternatives/complexity.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/complexity.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=0,
    message:
        "Counting traces, auxiliary weights and operations of every local rule"
    shell:
        "edgekws alternatives complexity {input} {output} &> {log}"


rule alternatives_cost:
    input:
        features=lambda wildcards: alt_features(wildcards.net),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=lambda wildcards: alt_base(wildcards.net, SETTINGS.seeds[0]),
    output:
        f"{ALT_METRICS}/cost_{{net}}.json",
    log:
        f"{LOGS}/alternatives/cost_{{net}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/cost_{{net}}.tsv"
    wildcard_constraints:
        net="spiking|ds_cnn",
    threads: alone(SETTINGS.threads)
    resources:
        mem_mb=more_memory(2000, mapped=True),
        runtime=more_time(120),
        units=lambda wildcards: int(
            sum(
                alt_learning(name, ALT_POOL, 6) + (ALT.limits.repetitions + 1) * alt_learning(name, ALT_POOL)
                for name, method in ALT_METHODS.items()
                if method.net == wildcards.net
            )
        ),
    params:
        threads=THREADS,
        settings=as_json(methods=ALT_METHODS, training=ALT.training, limits=ALT.limits),
    message:
        "Measuring memory and time of every method, net {wildcards.net}"
    shell:
        "edgekws alternatives cost {input.features} {input.index} {input.plan} {input.base} {output} --net {wildcards.net}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_limits:
    input:
        alt_base("spiking", SETTINGS.seeds[0]),
    output:
        f"{ALT_METRICS}/limits.json",
    log:
        f"{LOGS}/alternatives/limits.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/limits.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(60),
        units=sum(math.ceil(ALT.limits.clips / size) for size in ALT.limits.batch_sizes),
    params:
        threads=THREADS,
        settings=as_json(limits=ALT.limits),
    message:
        "Estimating which methods fit which device"
    shell:
        "edgekws alternatives limits {input} {output} --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_retain:
    input:
        features=lambda wildcards: alt_features(alt_net(wildcards)),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=lambda wildcards: alt_base(alt_net(wildcards), wildcards.seed),
        budget=f"{ALT_METRICS}/tuning/{{method}}.json",
    output:
        f"{ALT_METRICS}/retention/{{method}}_seed{{seed}}.json",
    log:
        f"{LOGS}/alternatives/retention/{{method}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/retention/{{method}}_seed{{seed}}.tsv"
    wildcard_constraints:
        method="|".join(ALT.methods),
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=alt_retain_units,
    params:
        threads=THREADS,
        settings=lambda wildcards: as_json(
            methods={wildcards.method: ALT.methods[wildcards.method]},
            retention=ALT.retention,
            others=ALT.others,
        ),
    message:
        "Remedies against forgetting, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "edgekws alternatives retain {input.features} {input.index} {input.plan} {input.base} {input.budget} {output}"
        " --method {wildcards.method} --seed {wildcards.seed}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_summarise_retention:
    input:
        expand(
            f"{ALT_METRICS}/retention/{{method}}_seed{{seed}}.json",
            method=ALT.retention.methods,
            seed=SETTINGS.seeds,
        ),
    output:
        f"{ALT_METRICS}/retention.json",
    log:
        f"{LOGS}/alternatives/retention.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/retention.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=len(ALT.retention.methods)
        * (1 + len(ALT.retention.rehearsal) + len(ALT.retention.elastic) + ALT.retention.sequence)
        * min(ALT.retention.users or SPEECH.testers, SPEECH.testers)
        * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating the remedies against forgetting"
    shell:
        "edgekws alternatives summarise-retention {output} {input} --settings {params.settings:q} &> {log}"


rule alternatives_federate:
    input:
        features=alt_features("spiking"),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=lambda wildcards: alt_base("spiking", wildcards.seed),
        # When it was built does not matter, what it was built from does.
        environment=ancient(".envs/flower"),
        lock="envs/flower.txt",
    output:
        f"{ALT_METRICS}/federated/seed{{seed}}.json",
    log:
        f"{LOGS}/alternatives/federated/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/federated/seed{{seed}}.tsv"
    priority: 1
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(240),
        units=alt_federate_units,
    params:
        threads=THREADS,
        settings=as_json(ALT.federated),
    message:
        "Users teach one readout together, seed {wildcards.seed}"
    shell:
        "edgekws alternatives federate {input.features} {input.index} {input.plan} {input.base} {input.environment} {output}"
        " --seed {wildcards.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_summarise_federated:
    input:
        expand(f"{ALT_METRICS}/federated/seed{{seed}}.json", seed=SETTINGS.seeds),
    output:
        f"{ALT_METRICS}/federated.json",
    log:
        f"{LOGS}/alternatives/federated.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/federated.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=(4 + 2 * len(ALT.federated.noise))
        * min(ALT.federated.users or SPEECH.testers, SPEECH.testers)
        * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating what users learn together"
    shell:
        "edgekws alternatives summarise-federated {output} {input} --settings {params.settings:q} &> {log}"


rule alternatives_levels:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
    output:
        levels=ALT_LEVELS,
        noise=f"{RUN}/features/levels_noise.npy",
    log:
        f"{LOGS}/alternatives/levels.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/levels.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    params:
        threads=THREADS,
        seed=SETTINGS.seed,
    message:
        "Extracting mel levels of speech and noise"
    shell:
        "edgekws alternatives levels {input.archive:q} {input.index} {output.levels} {output.noise}"
        " --seed {params.seed} {params.threads} &> {log}"


def alt_strong_clip(net):
    """What a clip costs a strong base: multiply-adds of its forward pass."""
    if net == "strong_ds_cnn":
        return 2_549_760
    widths = ALT.strong.network.hidden
    return 47 * sum(before * after + after * after for before, after in zip([80, *widths], widths))


def alt_strong_budget(net):
    """Training of a strong base."""
    return ALT.strong.ds_cnn if net == "strong_ds_cnn" else ALT.strong.spiking


def alt_strong_adapt_units(wildcards):
    """Every learning rate for the validation users, then every test user, fold and shot, by each method of a net."""
    strong, cost = ALT.strong, 3 * alt_strong_clip(wildcards.net)
    methods = sum(method.net == wildcards.net for method in strong.methods.values())
    tuned = min(strong.tuning.users, SPEECH.validators) * len(strong.tuning.learning_rate)
    tested = SPEECH.testers * min(strong.folds or ALT_PLAN.folds, ALT_PLAN.folds) * len(strong.shots)
    return int(methods * (tuned + tested) * strong.training.epochs * ALT_POOL * cost)


rule alternatives_strong_base:
    input:
        levels=ALT_LEVELS,
        noise=f"{RUN}/features/levels_noise.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_one_user.parquet",
        also=also_left_out,
    output:
        f"{ALT_MODELS}/{{net}}_seed{{seed}}.safetensors",
    log:
        f"{LOGS}/alternatives/{{net}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/{{net}}_seed{{seed}}.tsv"
    wildcard_constraints:
        net="strong_spiking|strong_ds_cnn",
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(240),
        units=lambda wildcards: 3
        * alt_strong_budget(wildcards.net).epochs
        * SPEECH.train
        * alt_strong_clip(wildcards.net),
    params:
        threads=THREADS,
        settings=lambda wildcards: as_json(
            augmentation=ALT.strong.augmentation,
            **(
                {"ds_cnn": ALT.strong.ds_cnn}
                if wildcards.net == "strong_ds_cnn"
                else {"spiking": ALT.strong.spiking, "network": ALT.strong.network}
            ),
        ),
        also=also_option,
    message:
        "Training the strong base {wildcards.net} of seed {wildcards.seed}"
    shell:
        "edgekws alternatives strong-base {input.levels} {input.noise} {input.index} {input.plan} {output}"
        " --net {wildcards.net} --seed {wildcards.seed} {params.also} --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_strong_adapt:
    input:
        features=lambda wildcards: (
            ALT_LEVELS if wildcards.net == "strong_spiking" else f"{RUN}/features/alternatives.npy"
        ),
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=f"{ALT_MODELS}/{{net}}_seed{{seed}}.safetensors",
    output:
        f"{ALT_METRICS}/strong/{{net}}_seed{{seed}}.json",
    log:
        f"{LOGS}/alternatives/strong/{{net}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/strong/{{net}}_seed{{seed}}.tsv"
    wildcard_constraints:
        net="strong_spiking|strong_ds_cnn",
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=alt_strong_adapt_units,
    params:
        threads=THREADS,
        settings=as_json(
            strong=ALT.strong.model_dump(mode="json", include={"methods", "training", "tuning", "shots", "folds"}),
            others=ALT.others,
        ),
    message:
        "Adapting {wildcards.net} to the users, seed {wildcards.seed}"
    shell:
        "edgekws alternatives strong-adapt {input.features} {input.index} {input.plan} {input.base} {output}"
        " --net {wildcards.net} --seed {wildcards.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_summarise_strong:
    input:
        expand(f"{ALT_METRICS}/strong/{{net}}_seed{{seed}}.json", net=ALT_STRONG_NETS, seed=SETTINGS.seeds),
    output:
        f"{ALT_METRICS}/strong.json",
    log:
        f"{LOGS}/alternatives/strong.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/strong.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=len(ALT.strong.methods) * len(SETTINGS.seeds) * SPEECH.testers * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating the strong bases"
    shell:
        "edgekws alternatives summarise-strong {output} {input} --settings {params.settings:q} &> {log}"


rule alternatives_depth:
    input:
        levels=ALT_LEVELS,
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_one_user.parquet",
        also=also_left_out,
    output:
        f"{ALT_METRICS}/depth/seed{{seed}}.json",
    log:
        f"{LOGS}/alternatives/depth/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/depth/seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(240),
        units=min(ALT.depth.clips, SPEECH.train)
        * ALT.depth.epochs
        * len(ALT.depth.learning_rate)
        * len(ALT.depth.rules)
        * 3_000_000
        * (sum(ALT.depth.layers) + 20 * bool(ALT.depth.convolution)),
    params:
        threads=THREADS,
        settings=as_json(depth=ALT.depth, network=TP.network),
        also=also_option,
    message:
        "Training deeper nets by every rule, seed {wildcards.seed}"
    shell:
        "edgekws alternatives depth {input.levels} {input.index} {input.plan} {output} --seed {wildcards.seed} {params.also}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule alternatives_figures:
    input:
        notebook="notebooks/alternatives.ipynb",
        metrics=PAPERS["alternatives"].metrics,
    output:
        notebook=f"{RUN}/notebooks/alternatives.ipynb",
        captions=f"{RUN}/figures/alternatives.json",
        figures=figures_of(PAPERS["alternatives"]),
    log:
        f"{LOGS}/alternatives/figures.log",
    benchmark:
        f"{BENCHMARKS}/alternatives/figures.tsv"
    priority: 1
    threads: 1
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(20),
    params:
        metrics=ALT_METRICS,
        figures=f"{RUN}/figures",
    message:
        "Drawing the figures of the alternatives"
    shell:
        "edgekws report notebook {input.notebook} {output.notebook} -p metrics={params.metrics}"
        " -p figures={params.figures} &> {log}"
