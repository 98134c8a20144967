"""The C library on devices: built for this machine, WebAssembly and Cortex-M, and run there.

Inputs: the corpus' archive and index, the plan, a base model, the compiler's environment.
Outputs: results/<run>/metrics/alternatives/device.json. Where a compiler, QEMU or WebAssembly is missing, it says so.
"""


rule embedded:
    """The C library built and run on every device, and what it takes."""
    input:
        f"{ALT_METRICS}/device.json",
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
