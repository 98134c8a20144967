"""The C library on devices: built for this machine, WebAssembly and Cortex-M, and run there.

Inputs: the corpus' archive and index, the plan, a base model, the compiler's environment.
Outputs: results/<run>/metrics/alternatives/device.json, results/<run>/voice.html. Where a compiler, QEMU or WebAssembly is missing, it says so.
"""


rule embedded:
    """The C library built and run on every device, what it takes, and the page that learns a person's voice."""
    input:
        f"{ALT_METRICS}/device.json",
        f"{RUN}/voice.html",
    localrule: True


rule embedded_measure:
    input:
        archive=archive_of_run,
        index=f"{RUN}/corpus/index.parquet",
        plan=f"{RUN}/corpus/plan_many_users.parquet",
        base=alt_base("spiking", SETTINGS.seeds[0]),
        environment=ancient(".envs/embedded"),
        lock="envs/embedded.txt",
        sources=sorted(str(path) for path in Path("embedded").rglob("*.[ch]")) + ["embedded/targets/cortex_m.ld"],
    output:
        f"{ALT_METRICS}/device.json",
    log:
        f"{LOGS}/embedded/measure.log",
    benchmark:
        f"{BENCHMARKS}/embedded/measure.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1500),
        runtime=more_time(60),
        units=ALT.device.users * len(ALT.device.targets) + 5 * len(ALT.device.widths) + 2 * len(ALT.device.budgets),
    params:
        settings=as_json(device=ALT.device),
    message:
        "Building the C library for devices, and running it there"
    shell:
        "edgekws embedded measure {input.archive:q} {input.index} {input.plan} {input.base} {output}"
        " --environment {input.environment} --settings {params.settings:q} &> {log}"


rule embedded_page:
    input:
        base=alt_base("spiking", SETTINGS.seeds[0]),
        measured=[f"{TP_METRICS}/many_users.json"] if "many_users" in TP.experiments else [],
        environment=ancient(".envs/embedded"),
        lock="envs/embedded.txt",
        sources=sorted(str(path) for path in Path("embedded").rglob("*.[ch]")),
        page=sorted(str(path) for path in Path("embedded/page").iterdir()),
    output:
        f"{RUN}/voice.html",
    log:
        f"{LOGS}/embedded/page.log",
    benchmark:
        f"{BENCHMARKS}/embedded/page.tsv"
    threads: 1
    resources:
        mem_mb=more_memory(1000),
        runtime=more_time(20),
    params:
        measured=lambda wildcards, input: f"--measured {input.measured[0]}" if input.measured else "",
        settings=as_json(TP.methods.traces_propagation),
        seed=SETTINGS.seeds[0],
    message:
        "Writing the page that learns a person's voice"
    shell:
        "edgekws embedded page {input.base} {output} {params.measured} --or-say-why --seed {params.seed}"
        " --environment {input.environment} --settings {params.settings:q} &> {log}"
