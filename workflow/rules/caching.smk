"""Snakemake's cache between workflows, for who asks for it: SNAKEMAKE_OUTPUT_CACHE=<folder> and `snakemake --cache`.

Included last. What takes long and is the same for all runs of the same speech and settings is then looked for in the
folder first, whichever clone put it there. Snakemake knows an output by its rule's command and params and those of all
before it. That is not enough: wildcards and the code are added here. A rule with a benchmark cannot be cached, so it
goes without.
"""

import hashlib

from edgekws.core.provenance import provenance, sources_checksum
from snakemake.caching.rule import RuleCache

CACHED = [
    "synthesise_corpus",
    "index_corpus",
    "traces_propagation_features",
    "traces_propagation_base",
    "neuedge_features",
    "neuedge_noise",
    "neuedge_train",
    "speak_onda_words",
    "onda_words",
    "onda_pretrain",
    "onda_prune_offline",
    "alternatives_features",
    "alternatives_base",
]
# Nothing made from licensed recordings goes into a folder that others read.
if ONDA.corpus.name == "synthetic":
    CACHED += ["synthesise_wake_words", "index_wake_words", "onda_features"]


def folder_of_this_code(cache):
    """A folder of the cache that other code, and other versions of packages, do not share."""
    made_by = {**provenance(), "code": sources_checksum()}
    name = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()[:16]
    # A job's own Snakemake inherits what was set here.
    folder = Path(cache) if Path(cache).name == name else Path(cache) / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkflowError(f"SNAKEMAKE_OUTPUT_CACHE: {folder} cannot be made ({error.strerror})") from None
    return str(folder)


if workflow.workflow_settings.cache is not None:
    if not os.environ.get("SNAKEMAKE_OUTPUT_CACHE"):
        raise WorkflowError("--cache: set SNAKEMAKE_OUTPUT_CACHE to a folder, of this person or shared by many")
    os.environ["SNAKEMAKE_OUTPUT_CACHE"] = folder_of_this_code(os.environ["SNAKEMAKE_OUTPUT_CACHE"])
    for cached in map(workflow.get_rule, CACHED):
        cached._benchmark = None
        cached.cache = RuleCache.from_rule(cached, True)
        if cached.wildcard_names:
            cached.set_params(wildcards=lambda wildcards: dict(wildcards.items()))
