import matplotlib
import pytest

from edgekws.core import style

matplotlib.use("Agg")
LOOKS = style.Looks("x", style.BLUE, "s")


def draw(folder, *, synthetic):
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        style.use()
        fig, axes = plt.subplots(figsize=(3, 2))
        style.point(axes, 0, {"value": 2.0, "ci_low": 1.0, "ci_high": 4.0}, LOOKS, label="x")
        style.point(axes, 1, {"value": 3.0, "ci_low": None, "ci_high": None}, LOOKS)
        style.lying_point(axes, 2, {"value": 1.0, "ci_low": 0.5, "ci_high": 2.0}, LOOKS)
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


def test_a_persons_own_matplotlibrc_changes_nothing(tmp_path):
    draw(tmp_path / "a", synthetic=True)
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9, "axes.facecolor": "black", "savefig.bbox": "tight",
                                "svg.fonttype": "none", "axes.prop_cycle": matplotlib.cycler(color="rg")}):
        draw(tmp_path / "b", synthetic=True)
    for suffix in ("svg", "png"):
        one, two = ((tmp_path / name / f"picture.{suffix}").read_bytes() for name in ("a", "b"))
        assert one == two


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_stamped(tmp_path, synthetic):
    assert ("synthetic speech" in draw(tmp_path, synthetic=synthetic)) is synthetic


def test_a_known_name_keeps_its_looks_and_another_is_grey():
    known = {"mine": LOOKS}
    assert style.looks_of(known, "mine") is LOOKS
    assert style.looks_of(known, "something_new") == ("something new", style.GREY, "x")
