"""A logger plugin of Snakemake that prints every job of a dry run as a line of JSON: ``snakemake --logger jobs``.

Snakemake finds it by its name on the path of modules; :mod:`edgekws.run.workflow` puts this folder there.
"""

from __future__ import annotations

import json
import logging
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """Jobs to standard output, errors to standard error."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record if it is a job or an error."""
        about = record.__dict__
        if about.get("event") == LogEvent.JOB_INFO:
            job = {"rule": about["rule_name"], "wildcards": dict(about["wildcards"]), "input": list(about["input"]),
                   "output": list(about["output"]), "benchmark": about["benchmark"],
                   "resources": {name: value for name, value in about["resources"].items() if isinstance(value, int)}}
            print(json.dumps(job), flush=True)
        elif record.levelno >= logging.ERROR:
            print(record.getMessage(), file=sys.stderr, flush=True)
