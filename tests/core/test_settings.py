"""The settings: one source, three artefacts, clear errors."""

import json
from pathlib import Path

import pytest
import yaml

from edgekws.config import Config, default_yaml, json_schema
from edgekws.core import settings
from edgekws.core.errors import UserError
from edgekws.methods.alternatives.settings import Alternatives
from edgekws.methods.onda.settings import OnDA
from edgekws.methods.traces_propagation.settings import TracesPropagation
from edgekws.protocol.settings import Training

ROOT = Path(__file__).resolve().parents[2]


def test_default_yaml_is_the_defaults():
    assert yaml.safe_load(default_yaml()) == json.loads(Config().model_dump_json())


@pytest.mark.parametrize("path, text", [
    ("config/default.yaml", default_yaml()),
    ("workflow/schemas/config.schema.json", json_schema())])
def test_written_files_agree_with_the_settings(path, text):
    assert (ROOT / path).read_text(encoding="utf-8") == text, "run `edgekws settings write`"


def test_every_setting_is_described():
    def bare(model):
        for name, field in model.model_fields.items():
            inner = settings._models(field.annotation)
            if not inner and not field.description:
                yield f"{model.__name__}.{name}"
            for each in inner:
                yield from bare(each)
    assert list(bare(Config)) == []


@pytest.mark.parametrize("overlay", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_overlays_are_valid(overlay):
    named = ["archive=mine.tar.gz"] if overlay.stem == "gsc_subset" else []  # which is for an archive of one's own
    assert settings.read(Config, overlay, named).run == overlay.stem


@pytest.mark.parametrize("values, message, remedy", [
    ({"traces_propagation": {"network": {"treshold": 1}}}, "traces_propagation.network.treshold", "'threshold'"),
    ({"traces_propagation": {"experiments": {"x": {"plann": "one_user"}}}}, "experiments.x.plann", "'plan'"),
    ({"corpuss": {}}, "unknown setting 'corpuss'", "'corpus'"),
    ({"corpus": {"synthetic": {"takes": 0}}}, "corpus.synthetic.takes", "default.yaml"),
    ({"corpus": {"synthetic": {"words": [True, "stop"]}}}, "put them in quotes", "default.yaml"),
    ({"seeds": []}, "'seeds' is []", "default.yaml"),
    ({"traces_propagation": {"network": {"membrane_leak": 1.5}}}, "membrane_leak", "default.yaml"),
    ({"seeds": [3, 0, 3]}, "3 is there twice", "default.yaml"),
    ({"archive": "mine.tar.gz"}, "set corpus.name to gsc", "default.yaml"),
    ({"onda": {"corpus": {"name": "heysnapdragon", "archive": "a"}}}, "set onda.corpus.positives to", "default.yaml"),
    ({"protocol": {"many_users": {"shots": [0]}}}, "'protocol.many_users.shots.0' is 0", "default.yaml"),
    ({"run": "../elsewhere"}, "'run' is '../elsewhere'", "default.yaml"),
    ({"alternatives": {"retention": {"methods": ["tesss"]}}}, "did you mean 'tess'?", "default.yaml"),
    ({"alternatives": {"methods": {"tess": {"kind": "tess"}}}}, "there is no method 'traces_propagation'", "default.yaml")])
def test_wrong_settings_are_named_with_a_remedy(values, message, remedy):
    with pytest.raises(UserError) as error:
        settings.validate(Config, values)
    assert message in str(error.value) and remedy in error.value.remedy


def test_a_command_may_be_given_one_method_alone():
    assert list(settings.read(Alternatives, '{"methods": {"tess": {"kind": "tess"}}}').methods) == ["tess"]


def test_json_text_file_and_overrides_agree(tmp_path):
    (tmp_path / "s.yaml").write_text("learning_rate: 0.01\nepochs: 7\n")
    from_file = settings.read(Training, tmp_path / "s.yaml")
    assert from_file == settings.read(Training, '{"learning_rate": 0.01, "epochs": 7}')
    assert from_file == settings.read(Training, None, ["learning_rate=0.01", "epochs=7"])


def test_overrides_reach_inside():
    read = settings.read(TracesPropagation, None, ["network.hidden=[10, 20]", "base.epochs=2"])
    assert read.network.hidden == [10, 20] and read.base.epochs == 2


@pytest.mark.parametrize("source, overrides, says", [
    ("nowhere.yaml", (), "no such settings file"), ("{not: [yaml", (), "not valid YAML"), (None, ["epochs"], "name=value"),
    (None, ["=3"], "name=value"), (None, ["epochs=[1"], r"--set epochs=\[1: '\[1' is not valid YAML"),
    (None, ["epochs=3", "epochs.first=2"], "'epochs' is one value and has no 'first'")])
def test_unreadable_settings_are_refused(source, overrides, says):
    with pytest.raises(UserError, match=says):
        settings.read(Training, source, overrides)


def test_a_file_of_comments_alone_is_the_defaults(tmp_path):
    (tmp_path / "s.yaml").write_text("# nothing yet\n")
    assert settings.read(Training, tmp_path / "s.yaml") == Training()


@pytest.mark.parametrize("text", ["[1, 2]\n", "[]\n", "0\n"])
def test_a_list_or_a_number_in_a_file_is_no_settings(text, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=r"s\.yaml: holds no settings by name"):
        settings.read(Training, tmp_path / "s.yaml", ["epochs=3"])


def test_the_adapted_encoder_is_of_the_same_experiment_whatever_their_order():
    experiments = OnDA().experiments
    names = list(experiments)
    assert {OnDA(experiments={name: experiments[name] for name in order}).adapted_as
            for order in (names, names[::-1])} == {"ds_cnn"}
    assert OnDA(experiments={name: experiments["ds_cnn"] for name in ("b", "a")}).adapted_as == "a"


@pytest.mark.parametrize("path", ["{a}.tar", "x/{ word }/y", r"{a,\\d+}.tar"])
def test_a_path_that_snakemake_would_take_for_a_pattern_is_refused(path):
    with pytest.raises(UserError, match="takes what is in braces for a wildcard"):
        settings.validate(Config, {"archive": path, "corpus": {"name": "gsc"}})


def test_home_is_put_in_and_other_odd_names_stay(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for given, meant in (("~/a b.tar", "/home/me/a b.tar"), ("x/~a.tar", "x/~a.tar"), ("a {} b.tar", "a {} b.tar")):
        assert settings.validate(Config, {"archive": given, "corpus": {"name": "gsc"}}).archive == meant
