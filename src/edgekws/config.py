"""The whole configuration of a run: every section, ``config/default.yaml`` and its JSON schema."""

from __future__ import annotations

import json

from pydantic import Field, model_validator

from edgekws.core.device import Name as DeviceName
from edgekws.core.errors import did_you_mean
from edgekws.core.settings import Name, PositiveInt, Seeds, Settings, commented_yaml
from edgekws.corpus.settings import Corpus
from edgekws.methods.alternatives.settings import Alternatives
from edgekws.methods.neuedge.settings import NeuEdge
from edgekws.methods.onda.settings import OnDA
from edgekws.methods.traces_propagation.settings import TracesPropagation
from edgekws.protocol.settings import Statistics


class Config(Settings):
    """The whole configuration of a run."""

    run: Name = Field("default", description="name of the run: its results are in results/<run>")
    seed: int = Field(0, description="what every random choice of the corpus derives from")
    seeds: Seeds = Field([0, 1, 2], description="one base model and its adaptations for each")
    threads: PositiveInt = Field(1, description="compute threads of a job; the bytes of a result may depend on it")
    device: DeviceName = Field(
        "cpu", description="where base nets and encoders are trained (not the DS-CNN of the alternatives, nor adaptations): a "
        "GPU (cuda; auto: where there is one) agrees within a tolerance only")
    archive: str | None = Field(
        None, description="with corpus name gsc: an archive in that layout to use instead of the whole of GSC v0.02")
    corpus: Corpus = Field(default_factory=Corpus, description="the speech")
    traces_propagation: TracesPropagation = Field(default_factory=TracesPropagation, description="paper 1")
    neuedge: NeuEdge = Field(default_factory=NeuEdge, description="paper 2")
    onda: OnDA = Field(default_factory=OnDA, description="paper 3")
    alternatives: Alternatives = Field(default_factory=Alternatives, description="what else could adapt the models")
    statistics: Statistics = Field(default_factory=Statistics, description="intervals")

    @model_validator(mode="after")
    def _corpora_are_named_whole(self) -> Config:
        # Here, and not in their own sections: the defaults of a command's section name no corpus.
        if self.archive is not None and self.corpus.name != "gsc":
            raise ValueError(f"archive is given, but corpus.name is {self.corpus.name}, which reads none: set corpus.name to gsc")
        given = self.onda.corpus
        needed = {"synthetic": (), "heysnips": ("archive",), "heysnapdragon": ("archive", "positives")}[given.name]
        if missing := [f"onda.corpus.{name}" for name in needed if not getattr(given, name)]:
            raise ValueError(f"onda.corpus.name is {given.name}: set {' and '.join(missing)} to what a licensed person got")
        return self

    @model_validator(mode="after")
    def _alternatives_are_known(self) -> Config:
        # Here, and not in its own section: a rule hands its command the methods that it is about.
        chosen = self.alternatives
        for name in [*(chosen.compared or []), *chosen.retention.methods]:
            if name not in chosen.methods:
                raise ValueError(f"alternatives: there is no method '{name}'; {did_you_mean(name, chosen.methods)}")
        return self


def default_yaml() -> str:
    """``config/default.yaml``: every setting with its default and its description as a comment."""
    head = ("# yaml-language-server: $schema=../workflow/schemas/config.schema.json\n"
            "# Every setting and its default. Generated from the settings in src/edgekws by `edgekws settings write`;\n"
            "# change values in an overlay (config/<run>.yaml), not here.\n")
    return head + "\n".join(commented_yaml(Config())) + "\n"


def json_schema() -> str:
    """``workflow/schemas/config.schema.json``."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"
