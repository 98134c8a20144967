import matplotlib
import pytest

from edgekws.core import style

matplotlib.use("Agg")


def draw(folder, *, synthetic):
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        style.use()
        fig, axes = plt.subplots(figsize=(3, 2))
        style.point(axes, 0, {"value": 2.0, "ci_low": 1.0, "ci_high": 4.0}, style.method("bptt"), label="x")
        style.point(axes, 1, {"value": 3.0, "ci_low": None, "ci_high": None}, style.method("bptt"))
        style.lying_point(axes, 2, {"value": 1.0, "ci_low": 0.5, "ci_high": 2.0}, style.method("bptt"))
        style.save(fig, "picture", folder, synthetic=synthetic)
        texts = [text.get_text() for text in fig.texts] + [fig.get_suptitle()]
        plt.close(fig)
    return texts


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        draw(tmp_path / name, synthetic=True)
    for suffix in ("svg", "png"):
        one, two = ((tmp_path / name / f"picture.{suffix}").read_bytes() for name in ("a", "b"))
        assert one == two
    assert b"<dc:date>" not in (tmp_path / "a" / "picture.svg").read_bytes()


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_stamped(tmp_path, synthetic):
    assert ("synthetic speech" in draw(tmp_path, synthetic=synthetic)) is synthetic


@pytest.mark.parametrize("looks", [list(style.METHODS.values()), list(style.VARIANTS.values()), list(style.THRESHOLDS.values())],
                         ids=["methods", "variants", "thresholds"])
def test_lines_of_a_figure_differ_in_colour_and_in_marker(looks):
    assert len({look.colour for look in looks}) == len({look.marker for look in looks}) == len(looks)


def test_what_is_not_known_is_drawn_under_its_own_name():
    assert style.method("something_new").label == "something new"
    assert style.variant("something_new").label == "something new"
    assert style.population(3, 6) == ("hidden 3", style.POPULATIONS["hidden 1"])
