"""Environments for tools that cannot share the main one: Lava, NeuroBench, SANA-FE, Flower, a C compiler.

Inputs: envs/<tool>.txt. Outputs: .envs/<tool>.
An environment that cannot be built does not stop the run: its figures are then marked "not run", with the reason.
"""


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
        tool="lava|neurobench|sanafe|flower|embedded|tonic|bench",
    priority: 3
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
