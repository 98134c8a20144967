"""Claims and the report.

Inputs: the metrics, figures and notebooks of every paper.
Outputs: results/<run>/claims.json (.csv, .html), results/<run>/tables/<paper>.json (.csv, .html), results/<run>/report.html.
"""


report: "../report/workflow.rst"


rule claims:
    """The ledger: every claim with our number, its verdict and why."""
    input:
        claims=expand("claims/{paper}.yaml", paper=PAPERS),
        index=f"{RUN}/corpus/index.parquet",
        metrics=[path for paper in PAPERS.values() for path in paper.metrics],
    output:
        json=f"{RUN}/claims.json",
        csv=f"{RUN}/claims.csv",
        html=report(
            f"{RUN}/claims.html", caption="../report/claims.rst", category="Claims", labels={"table": "all papers"}
        ),
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{BENCHMARKS}/claims.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        run=SETTINGS.run,
        results=RUN,
    message:
        "Evaluating every claim"
    shell:
        "edgekws claims ledger {params.run} claims {params.results} {input.index} {output.json} &> {log}"


rule claims_table:
    input:
        claims="claims/{paper}.yaml",
        index=f"{RUN}/corpus/index.parquet",
        metrics=lambda wildcards: PAPERS[wildcards.paper].metrics,
    output:
        json=f"{RUN}/tables/{{paper}}.json",
        csv=f"{RUN}/tables/{{paper}}.csv",
        html=f"{RUN}/tables/{{paper}}.html",
    log:
        f"{LOGS}/claims_table/{{paper}}.log",
    benchmark:
        f"{BENCHMARKS}/claims_table/{{paper}}.tsv"
    wildcard_constraints:
        paper="|".join(PAPERS),
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        run=SETTINGS.run,
        results=RUN,
    message:
        "Evaluating the claims of {wildcards.paper}"
    shell:
        "edgekws claims ledger {params.run} claims {params.results} {input.index} {output.json}"
        " --paper {wildcards.paper} &> {log}"


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
        runtime=more_time(20),
    params:
        snakefile=os.path.relpath(workflow.main_snakefile),
    message:
        "Drawing the workflow"
    shell:
        "(snakemake --snakefile {params.snakefile:q} --configfile {input.config} --rulegraph --nolock --quiet all"
        " | edgekws report rulegraph {output}) &> {log}"


rule report:
    """One page for a reviewer: verdicts, figures, deviations, cost, provenance."""
    input:
        claims=f"{RUN}/claims.json",
        config=f"{RUN}/config.json",
        rulegraph=f"{RUN}/figures/rulegraph.svg",
        notebooks=expand(f"{RUN}/notebooks/{{paper}}.ipynb", paper=PAPERS),
        metrics=[path for paper in PAPERS.values() for path in paper.metrics],
        voice=f"{RUN}/voice.html",
        deviations="docs/deviations.md",
    output:
        page=report(
            f"{RUN}/report.html",
            caption="../report/report.rst",
            category="Claims",
            labels={"table": "the whole report"},
        ),
    log:
        f"{LOGS}/report.log",
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        results=RUN,
        names=[f"--name={name}={paper.title}" for name, paper in PAPERS.items()],
    message:
        "Writing the report"
    shell:
        "edgekws report build {params.results} {output.page} {params.names:q} --deviations {input.deviations}"
        " --config {input.config} &> {log}"
