"""Traces Propagation: features, base models, adaptation to users, controls.

Inputs: the corpus' archive and index.
Outputs: results/<run>/metrics/traces_propagation/<experiment>.json, one for each experiment of the settings.
Each job of `traces_propagation_adapt` does all users, folds and shots of one method and seed.
"""

TP = SETTINGS.traces_propagation
TP_EXPERIMENTS = {name: TP.experiments[name] for name in TP.measured or TP.experiments}
TP_METRICS = f"{RUN}/metrics/traces_propagation"
TP_MODELS = f"{RUN}/models/traces_propagation"
PAPERS["traces_propagation"] = Paper(
    title="Traces Propagation",
    metrics=expand(
        f"{TP_METRICS}/{{experiment}}.json", experiment=[*TP_EXPERIMENTS, "complexity", "one_clip", "depth"]
    ),
    figures={
        "few_shot": "accuracy before and after adapting, paper beside ours (the paper's Fig. 1b)",
        "gain_per_user": "gain of every user, by shots and method",
        "forgetting": "what adapting to one user costs the others",
        "people": "accuracy of every user beside the paper's one (its Fig. 1b over people)",
        "who_gains": "gain of every user against their accuracy before",
        "gain_forgetting": "gain against what other speakers lose, by method",
        "one_clip": "gain against clips heard so far, one at a time",
    },
)


# What a clip costs: every weight is touched at every frame.
TP_CLIP = (16_000 // TP.features.hop + 1) * sum(
    before * after + after * after * TP.network.recurrent
    for before, after in zip([3 * TP.features.mels, *TP.network.hidden], TP.network.hidden)
)


def tp_learning(clips, epochs, batch_size):
    """Units of work of learning from so many clips; an update costs about as much as fifty of them."""
    return epochs * (clips + 50 * math.ceil(clips / batch_size)) * TP_CLIP


def tp_tune_units(wildcards):
    """Every point of the grid for every validation user and fold; of the recipe, its search."""
    if wildcards.method == "recipe":
        search = TP.recipe_search
        points = sum(len(values) for name, values in search if isinstance(values, list) and name != "shots")
        users = min(search.users or SPEECH.validators, SPEECH.validators) * search.folds * len(search.shots)
        return int(users * len(SETTINGS.seeds) * points * tp_learning(100, 10, 1024))
    grid, folds = TP.tuning, SETTINGS.protocol.many_users.folds
    clips = SPEECH.support(grid.shots, SPEECH.user_clips * (1 - 1 / folds))
    points = sum(tp_learning(clips, epochs, size) for epochs in grid.epochs for size in grid.batch_size)
    return int(
        min(grid.users, SPEECH.validators)
        * min(grid.folds, folds)
        * len(SETTINGS.seeds)
        * len(grid.learning_rate)
        * points
    )


def tp_adapt_units(wildcards):
    """Every user, fold and shot: learning and, a third as dear, answers to their own and to others' clips."""
    experiment = tp_experiment(wildcards)
    plan = getattr(SETTINGS.protocol, experiment.plan)
    if experiment.plan == "one_user":
        tasks, clips, share = len(plan.split_seeds), SPEECH.one_user_clips, plan.support_fraction
    else:
        users = SPEECH.testers if experiment.tuned else SPEECH.testers + SPEECH.validators
        users, folds = min(experiment.users or users, users), min(experiment.folds or plan.folds, plan.folds)
        tasks, clips, share = users * folds, SPEECH.user_clips, 1 - 1 / plan.folds
    budget = getattr(TP.methods, wildcards.method)
    epochs, size = budget.epochs, budget.batch_size
    if experiment.tuned:
        epochs, size = max(TP.tuning.epochs), min(TP.tuning.batch_size)
    asked = 2 * clips * (1 - share) + min(TP.others or SPEECH.test, SPEECH.test) * (1 - share)
    return int(
        tasks
        * sum(
            tp_learning(SPEECH.support(shot, clips * share), epochs, size) + asked * TP_CLIP / 3
            for shot in experiment.shots or plan.shots
        )
    )


def tp_stream_units(wildcards):
    """Every user's clips one by one, and in batches of every size, with both contrasts."""
    plan = SETTINGS.protocol.many_users
    tasks = min(TP.stream.users or SPEECH.testers, SPEECH.testers) * min(TP.stream.folds, plan.folds)
    clips = SPEECH.user_clips * (1 - 1 / plan.folds)
    streams = sum(tp_learning(clips * (1 + kept), TP.stream.passes, 1 + kept) for kept in TP.stream.reservoirs)
    return int(2 * tasks * (streams + sum(tp_learning(clips, 3, size) for size in TP.stream.batch_sizes)))


def tp_experiment(wildcards):
    """Settings of the experiment a job belongs to."""
    return TP.experiments[wildcards.experiment]


def tp_plan_of(wildcards):
    """Plan of the experiment a job belongs to."""
    return f"{RUN}/corpus/plan_{tp_experiment(wildcards).plan}.parquet"


def tp_base_of(wildcards):
    """Base model of the experiment and seed a job belongs to."""
    return f"{TP_MODELS}/base_{tp_experiment(wildcards).normalisation}_seed{wildcards.seed}.safetensors"


def tp_budget_of(wildcards):
    """Budget chosen on the validation users, for a tuned experiment."""
    return f"{TP_METRICS}/tuning/{wildcards.method}.json" if tp_experiment(wildcards).tuned else []


def tp_parts_of(wildcards):
    """Metrics of every method and seed of an experiment."""
    return expand(
        f"{TP_METRICS}/{wildcards.experiment}/{{method}}_seed{{seed}}.json",
        method=tp_experiment(wildcards).methods,
        seed=tp_experiment(wildcards).seeds or SETTINGS.seeds,
    )


rule traces_propagation:
    """Everything of the paper but the report: metrics and figures of every experiment."""
    input:
        PAPERS["traces_propagation"].metrics,
        f"{RUN}/notebooks/traces_propagation.ipynb",
    localrule: True


rule traces_propagation_features:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
    output:
        f"{RUN}/features/traces_propagation.npy",
    log:
        f"{LOGS}/traces_propagation/features.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/features.tsv"
    priority: 3
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(2000),
        runtime=more_time(60),
        units=SPEECH.clips,
    params:
        threads=THREADS,
        settings=as_json(TP.features),
    message:
        "Extracting log-mel features with differences"
    shell:
        "edgekws traces-propagation features {input.archive:q} {input.index} {output}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule traces_propagation_base:
    input:
        features=f"{RUN}/features/traces_propagation.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_one_user.parquet",
        also=also_left_out,
    output:
        f"{TP_MODELS}/base_{{normalisation}}_seed{{seed}}.safetensors",
    log:
        f"{LOGS}/traces_propagation/base_{{normalisation}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/base_{{normalisation}}_seed{{seed}}.tsv"
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(240),
        gpu=GPUS,
        units=tp_learning(SPEECH.train, TP.base.epochs, TP.base.batch_size),
    params:
        threads=TRAINS_ON,
        settings=as_json(network=TP.network, base=TP.base, features=TP.features),
        also=also_option,
    message:
        "Training the base model of seed {wildcards.seed} ({wildcards.normalisation} normalisation)"
    shell:
        "edgekws traces-propagation base {input.features} {input.index} {input.plan} {output}"
        " --normalisation {wildcards.normalisation} --seed {wildcards.seed} {params.also}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule traces_propagation_tune:
    input:
        features=f"{RUN}/features/traces_propagation.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        bases=expand(f"{TP_MODELS}/base_frozen_seed{{seed}}.safetensors", seed=SETTINGS.seeds),
    output:
        f"{TP_METRICS}/tuning/{{method}}.json",
    log:
        f"{LOGS}/traces_propagation/tune_{{method}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/tune_{{method}}.tsv"
    priority: 2
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=tp_tune_units,
    params:
        threads=THREADS,
        settings=lambda wildcards: as_json(
            **({"recipe_search": TP.recipe_search} if wildcards.method == "recipe" else {"tuning": TP.tuning}),
            methods={wildcards.method: getattr(TP.methods, wildcards.method).model_dump(mode="json")},
        ),
        more=more_bases,
    message:
        "Choosing the budget of {wildcards.method} on the validation users"
    shell:
        "edgekws traces-propagation tune {input.features} {input.index} {input.plan} {input.bases[0]} {output}"
        " {params.more} --method {wildcards.method}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule traces_propagation_adapt:
    input:
        features=f"{RUN}/features/traces_propagation.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=tp_plan_of,
        base=tp_base_of,
        budget=tp_budget_of,
    output:
        f"{TP_METRICS}/{{experiment}}/{{method}}_seed{{seed}}.json",
    log:
        f"{LOGS}/traces_propagation/{{experiment}}/{{method}}_seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/{{experiment}}/{{method}}_seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=tp_adapt_units,
    params:
        threads=THREADS,
        budget=lambda wildcards, input: f"--budget {input.budget}" if input.budget else "",
        shots=lambda wildcards: " ".join(f"--shot {shot}" for shot in tp_experiment(wildcards).shots or []),
        sample=lambda wildcards: " ".join(
            [f"--{name} {most}" for name in ("users", "folds") if (most := getattr(tp_experiment(wildcards), name))]
            + ["--oracle"] * tp_experiment(wildcards).oracle
        ),
        # A tuned experiment takes its budget from its input: no setting of the methods touches it.
        settings=lambda wildcards: as_json(
            others=TP.others,
            **(
                {}
                if tp_experiment(wildcards).tuned
                else {"methods": {wildcards.method: getattr(TP.methods, wildcards.method).model_dump(mode="json")}}
            ),
        ),
    message:
        "Adapting to the users of {wildcards.experiment} by {wildcards.method}, seed {wildcards.seed}"
    shell:
        "edgekws traces-propagation adapt {input.features} {input.index} {input.plan} {input.base} {output}"
        " --method {wildcards.method} --seed {wildcards.seed} {params.budget} {params.shots} {params.sample}"
        " --settings {params.settings:q} {params.threads} &> {log}"


rule traces_propagation_summarise:
    input:
        tp_parts_of,
    output:
        f"{TP_METRICS}/{{experiment}}.json",
    log:
        f"{LOGS}/traces_propagation/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/{{experiment}}.tsv"
    wildcard_constraints:
        experiment="|".join(TP.experiments),
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=lambda wildcards: len(tp_experiment(wildcards).methods)
        * len(tp_experiment(wildcards).seeds or SETTINGS.seeds)
        * (SPEECH.testers + SPEECH.validators)
        * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating {wildcards.experiment}"
    shell:
        "edgekws traces-propagation summarise {output} {input} --settings {params.settings:q} &> {log}"


rule traces_propagation_stream:
    input:
        features=f"{RUN}/features/traces_propagation.npy",
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=f"{TP_MODELS}/base_frozen_seed{{seed}}.safetensors",
    output:
        f"{TP_METRICS}/one_clip/seed{{seed}}.json",
    log:
        f"{LOGS}/traces_propagation/one_clip/seed{{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/one_clip/seed{{seed}}.tsv"
    threads: SETTINGS.threads
    resources:
        mem_mb=more_memory(3000, mapped=True),
        runtime=more_time(480),
        units=tp_stream_units,
    params:
        threads=THREADS,
        settings=as_json(stream=TP.stream),
    message:
        "Learning from one clip at a time, seed {wildcards.seed}"
    shell:
        "edgekws traces-propagation stream {input.features} {input.index} {input.plan} {input.base} {output}"
        " --seed {wildcards.seed} --settings {params.settings:q} {params.threads} &> {log}"


rule traces_propagation_summarise_stream:
    input:
        expand(f"{TP_METRICS}/one_clip/seed{{seed}}.json", seed=SETTINGS.seeds),
    output:
        f"{TP_METRICS}/one_clip.json",
    log:
        f"{LOGS}/traces_propagation/one_clip.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/one_clip.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=len(SETTINGS.seeds) * SPEECH.testers * SETTINGS.statistics.resamples,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating what is learnt from one clip at a time"
    shell:
        "edgekws traces-propagation summarise-stream {output} {input} --settings {params.settings:q} &> {log}"


rule traces_propagation_event_data:
    """The paper's event data, as far as the settings name folders that hold them."""
    input:
        expand(
            f"{RUN}/features/events/{{dataset}}.npy",
            dataset=[name for name, folder in TP.events.model_dump().items() if folder],
        ),
    localrule: True


rule traces_propagation_events:
    input:
        source=lambda wildcards: getattr(TP.events, wildcards.dataset) or [],
        # When it was built does not matter, what it was built from does.
        environment=ancient(".envs/tonic"),
        lock="envs/tonic.txt",
    output:
        events=f"{RUN}/features/events/{{dataset}}.npy",
        table=f"{RUN}/features/events/{{dataset}}.parquet",
    log:
        f"{LOGS}/traces_propagation/events_{{dataset}}.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/events_{{dataset}}.tsv"
    wildcard_constraints:
        dataset="|".join(TP.events.model_dump()),
    threads: 1
    resources:
        mem_mb=more_memory(4000, mapped=True),
        runtime=more_time(240),
        units=0,
    message:
        "Reading {wildcards.dataset} with Tonic"
    shell:
        "edgekws traces-propagation events {input.source:q} {input.environment} {output.events}"
        " --dataset {wildcards.dataset} &> {log}"


rule traces_propagation_complexity:
    input:
        f"{TP_MODELS}/base_frozen_seed{SETTINGS.seeds[0]}.safetensors",
    output:
        f"{TP_METRICS}/complexity.json",
    log:
        f"{LOGS}/traces_propagation/complexity.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/complexity.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=0,
    message:
        "Counting traces, auxiliary weights and operations of the rule"
    shell:
        "edgekws traces-propagation complexity {input} {output} &> {log}"


rule traces_propagation_depth:
    input:
        # The bench trains the nets, by this rule and by others.
        expand(f"{RUN}/metrics/alternatives/depth/seed{{seed}}.json", seed=SETTINGS.seeds),
    output:
        f"{TP_METRICS}/depth.json",
    log:
        f"{LOGS}/traces_propagation/depth.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/depth.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
        units=0,
    params:
        settings=as_json(SETTINGS.statistics),
    message:
        "Aggregating the deeper nets"
    shell:
        "edgekws alternatives summarise-depth {output} {input} --settings {params.settings:q} &> {log}"


rule traces_propagation_figures:
    input:
        notebook="notebooks/traces_propagation.ipynb",
        claims="claims/traces_propagation.yaml",
        metrics=expand(f"{TP_METRICS}/{{experiment}}.json", experiment=[*TP_EXPERIMENTS, "one_clip"]),
    output:
        notebook=f"{RUN}/notebooks/traces_propagation.ipynb",
        captions=f"{RUN}/figures/traces_propagation.json",
        figures=figures_of(PAPERS["traces_propagation"]),
    log:
        f"{LOGS}/traces_propagation/figures.log",
    benchmark:
        f"{BENCHMARKS}/traces_propagation/figures.tsv"
    priority: 1
    threads: 1
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(20),
    params:
        metrics=TP_METRICS,
        figures=f"{RUN}/figures",
    message:
        "Drawing the figures of Traces Propagation"
    shell:
        "edgekws report notebook {input.notebook} {output.notebook} -p metrics={params.metrics}"
        " -p claims={input.claims} -p figures={params.figures} &> {log}"
