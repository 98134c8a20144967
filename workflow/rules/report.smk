"""Claims, figures by name, and the report.

Inputs: the metrics, figures and notebooks of every paper.
Outputs: results/<run>/claims.json (.csv, .html), results/<run>/report.html.
"""

from edgekws import files as edgekws_files


rule figure_few_shot:
    input:
        f"{RUN}/figures/few_shot.svg",
    # Accuracy before and after adapting, paper beside ours (Fig. 1b of the paper).
    localrule: True


rule figure_gain_per_user:
    input:
        f"{RUN}/figures/gain_per_user.svg",
    # Gain of every user, by shots and method.
    localrule: True


rule figure_forgetting:
    input:
        f"{RUN}/figures/forgetting.svg",
    # What adapting to one user costs the others.
    localrule: True


rule figure_encoder_grid:
    input:
        f"{RUN}/figures/encoder_grid.svg",
    # NeuEdge: what base threshold and alpha do to spikes, bits and accuracy.
    localrule: True


rule figure_ablation:
    input:
        f"{RUN}/figures/ablation.svg",
    # NeuEdge: the ablation, from the rate code to the full system.
    localrule: True


rule figure_adaptive_threshold:
    input:
        f"{RUN}/figures/adaptive_threshold.svg",
    # NeuEdge: accuracy and energy against the gain of the adaptive threshold.
    localrule: True


rule figure_noise:
    input:
        f"{RUN}/figures/noise.svg",
    # NeuEdge: fixed and adaptive thresholds under background noise.
    localrule: True


rule figure_mapping:
    input:
        f"{RUN}/figures/mapping.svg",
    # NeuEdge: the chip before and after its mapping is optimised.
    localrule: True


rule figure_utilisation:
    input:
        f"{RUN}/figures/utilisation.svg",
    # NeuEdge: utilisation against layer sizes, on every chip.
    localrule: True


rule figure_energy:
    input:
        f"{RUN}/figures/energy.svg",
    # NeuEdge: every term of the energy, by price set.
    localrule: True


rule figure_loihi:
    input:
        f"{RUN}/figures/loihi.svg",
    # Lava's check of the integer simulator; accuracy in float and integers.
    localrule: True


rule figure_pareto:
    input:
        f"{RUN}/figures/pareto.svg",
    # OnDA: accuracy at 0.5 false alarms per hour against size, by schedule and encoder.
    localrule: True


rule figure_personalisation_gain:
    input:
        f"{RUN}/figures/personalisation_gain.svg",
    # OnDA: what adapting and pruning gives every user.
    localrule: True


rule figure_detection_error:
    input:
        f"{RUN}/figures/detection_error.svg",
    # OnDA: misses against false alarms per hour, and the threshold a device would use.
    localrule: True


rule figure_pruning_controls:
    input:
        f"{RUN}/figures/pruning_controls.svg",
    # OnDA: which channels go, scored how and when: HAP, L1, at random, on other words.
    localrule: True


rule figure_pruning_cost:
    input:
        f"{RUN}/figures/pruning_cost.svg",
    # OnDA: size, time and memory of adaptation and inference on this machine.
    localrule: True


rule figure_hessian:
    input:
        f"{RUN}/figures/hessian.svg",
    # OnDA: how good and how stable the estimate of the Hessian's trace is.
    localrule: True


rule claims:
    input:
        claims=expand("claims/{paper}.yaml", paper=["traces_propagation", "neuedge", "onda"]),
        index=f"{RUN}/corpus/index.parquet",
        metrics=expand(f"{TP_METRICS}/{{experiment}}.json", experiment=TP.experiments),
        complexity=f"{TP_METRICS}/complexity.json",
        neuedge=NEUEDGE_RESULTS,
        onda=ONDA_RESULTS,
    output:
        json=f"{RUN}/claims.json",
        csv=f"{RUN}/claims.csv",
        html=f"{RUN}/claims.html",
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{BENCHMARKS}/claims.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=20,
    params:
        run=SETTINGS.run,
        results=RUN,
    message:
        "Holding the papers' claims against what was measured"
    shell:
        "edgekws claims ledger {params.run} claims {params.results} {input.index} {output.json} &> {log}"


rule effective_config:
    output:
        f"{RUN}/config.json",
    log:
        f"{LOGS}/effective_config.log",
    localrule: True
    params:
        config=as_json(SETTINGS),
    message:
        "Writing down the run's whole configuration"
    shell:
        "printf '%s' {params.config:q} > {output} 2> {log}"


rule rulegraph:
    input:
        config=f"{RUN}/config.json",
    output:
        f"{RUN}/figures/rulegraph.svg",
    log:
        f"{LOGS}/rulegraph.log",
    benchmark:
        f"{BENCHMARKS}/rulegraph.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=20,
    params:
        snakefile=workflow.main_snakefile,
    message:
        "Drawing the workflow"
    shell:
        "(snakemake --snakefile {params.snakefile:q} --configfile {input.config} --rulegraph --nolock --quiet all"
        " | edgekws report rulegraph {output}) &> {log}"


rule report:
    input:
        claims=f"{RUN}/claims.json",
        config=f"{RUN}/config.json",
        rulegraph=f"{RUN}/figures/rulegraph.svg",
        notebooks=expand(f"{RUN}/notebooks/{{paper}}.ipynb", paper=["traces_propagation", "neuedge", "onda"]),
        metrics=expand(f"{TP_METRICS}/{{experiment}}.json", experiment=TP.experiments) + NEUEDGE_RESULTS + ONDA_RESULTS,
        deviations="docs/deviations.md",
    output:
        f"{RUN}/report.html",
    log:
        f"{LOGS}/report.log",
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=20,
    params:
        results=RUN,
    message:
        "Writing the report"
    shell:
        "edgekws report build {params.results} {output} --deviations {input.deviations} --config {input.config}"
        " &> {log}"
