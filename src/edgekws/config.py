"""The whole configuration of a run: every section, ``config/default.yaml`` and its JSON schema.

What all methods share is named here; each method brings a section of its own (``settings.SECTION`` of its folder).
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, create_model, model_validator

from edgekws.core import registry
from edgekws.core.device import Name as DeviceName
from edgekws.core.settings import Name, PathText, PositiveInt, Seeds, Settings, commented_yaml
from edgekws.corpus.settings import Corpus
from edgekws.protocol.settings import Protocol, Statistics


class Shared(Settings):
    """What every run has, whatever its methods."""

    run: Name = Field("default", description="name of the run: its results are in results/<run>")
    seed: int = Field(0, description="what every random choice of the corpus derives from")
    seeds: Seeds = Field([0, 1, 2], description="one base model and its adaptations for each")
    threads: PositiveInt = Field(1, description="compute threads of a job; the bytes of a result may depend on it")
    device: DeviceName = Field(
        "cpu", description="where base nets and encoders are trained (not the DS-CNN of the alternatives, nor adaptations): a "
        "GPU (cuda; auto: where there is one) agrees within a tolerance only")
    archive: PathText | None = Field(
        None, description="with corpus name gsc: an archive in that layout to use instead of the whole of GSC v0.02; empty: "
        "must be named when the run is started")
    corpus: Corpus = Field(default_factory=Corpus, description="the speech")
    protocol: Protocol = Field(default_factory=Protocol, description="who adapts to what")
    statistics: Statistics = Field(default_factory=Statistics, description="intervals")

    @model_validator(mode="after")
    def _complete(self) -> Shared:
        if self.archive == "":
            raise ValueError("this configuration is for an archive of yours: name it (--config archive=path/to/archive.tar.gz)")
        if self.archive is not None and self.corpus.name != "gsc":
            raise ValueError(f"archive is given, but corpus.name is {self.corpus.name}, which reads none: set corpus.name to gsc")
        for name in type(self).model_fields:
            section = getattr(self, name)
            if isinstance(section, Settings):
                section.check_for_run()
        return self


def _config() -> type[Shared]:
    sections: dict[str, Any] = {}
    for name in registry.names("settings"):
        section = registry.module(name, "settings").SECTION
        about = (section.__doc__ or "").strip().splitlines()[0].rstrip(".")
        sections[name] = (section, Field(default_factory=section, description=about))
    return create_model("Config", __base__=Shared, __doc__="The whole configuration of a run.", **sections)


Config = _config()
"""The whole configuration of a run: :class:`Shared` and a section for each method."""


def default_yaml() -> str:
    """``config/default.yaml``: every setting with its default and its description as a comment."""
    head = ("# yaml-language-server: $schema=../workflow/schemas/config.schema.json\n"
            "# Every setting and its default. Generated from the settings in src/edgekws by `edgekws settings write`;\n"
            "# change values in an overlay (config/<run>.yaml), not here.\n")
    return head + "\n".join(commented_yaml(Config())) + "\n"


def json_schema() -> str:
    """``workflow/schemas/config.schema.json``."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"
