"""The voice page: what it is built of, and, in a browser, that it computes what the host does and sends nothing anywhere."""

import base64
import hashlib
import io
import json
import re
import shutil
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgekws.core.environments import NotRun
from edgekws.corpus.audio import CLIP_SAMPLES
from edgekws.embedded import page
from edgekws.features.settings import Features
from edgekws.methods.traces_propagation import personalise
from edgekws.models.recurrent_lif import save_network
from edgekws.protocol.settings import Training

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream"]
BUDGET = Training(learning_rate=1e-3, epochs=3, batch_size=1024)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here; on Debian: apt-get install chromium")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def words(metadata):
    return metadata["vocabulary"]


@pytest.fixture(scope="module")
def voice(tmp_path_factory, net, metadata):
    folder = tmp_path_factory.mktemp("page")
    save_network(folder / "base.safetensors", net, vocabulary=metadata["vocabulary"], feature_scale=metadata["feature_scale"],
                 about=metadata["settings"], provenance={"corpus": {}})
    try:
        page.build(folder / "base.safetensors", folder / "voice.html", BUDGET,
                   expected={"before": 71.2, "after": 78.4, "users": 120}, seed=3)
    except NotRun as reason:
        pytest.skip(str(reason))
    return folder / "voice.html"


def wav_bytes(samples, rate=16_000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def takes(clips, words):
    """Three takes of each word, by its number."""
    waves, labels = clips
    chosen = {word: [wave for wave, label in zip(waves, labels, strict=True) if label == word][:3] for word in range(len(words))}
    assert all(len(some) == 3 and all(len(wave) == CLIP_SAMPLES for wave in some) for some in chosen.values())
    return chosen


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, takes, words):
    path = tmp_path_factory.mktemp("zip") / "recordings.zip"
    with zipfile.ZipFile(path, "w") as out:
        for word, some in takes.items():
            for number, samples in enumerate(some):
                out.writestr(f"{words[word]}/{number + 1}.wav", wav_bytes(samples))
        out.writestr("stray/notes.txt", "no recording")
    return path


@pytest.fixture
def visit(tmp_path, voice):
    """A function that opens the page in a browser of its own: the page, what its console said, what it asked for."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: envs/test.txt has it")
    with playwright.sync_playwright() as play:
        opened = []

        def open_page(*flags, permissions=("microphone",), width=1280):
            context = play.chromium.launch_persistent_context(
                str(tmp_path / f"profile{len(opened)}"), executable_path=CHROMIUM, headless=True, args=[*FLAGS, *flags],
                offline=True, accept_downloads=True, viewport={"width": width, "height": 900}, permissions=list(permissions))
            opened.append(context)
            tab, said, asked = context.new_page(), [], []
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("request", lambda request: asked.append(request.url))
            tab.goto(voice.as_uri())
            tab.wait_for_selector("[data-record]")
            return tab, said, asked

        yield open_page
        for context in opened:
            context.close()


def test_the_page_is_one_file_that_may_ask_nothing(voice):
    text = voice.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'") and "connect-src" not in policy and "unsafe-inline" not in policy
    for tag in ("script", "style"):
        for part in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL):
            assert base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() in policy
    assert not re.search(r'(src|href)="', text) and "{{ " not in text
    assert "71 % of their words before" in text and "78 % after" in text


def test_what_to_expect_is_read_from_metrics(tmp_path):
    cell = {"users": 30, "before": {"value": 70.0}, "after": {"value": 75.5}}
    measured = tmp_path / "many_users.json"
    measured.write_text(json.dumps({"summary": {"traces_propagation": {"1": {}, "all": cell}}}))
    assert page.expected_of(measured) == {"users": 30, "before": 70.0, "after": 75.5}


def test_without_a_compiler_the_page_says_so(tmp_path):
    page.say_why("there is no <compiler> here", tmp_path / "voice.html")
    assert "not made: there is no &lt;compiler&gt; here." in (tmp_path / "voice.html").read_text()


@needs_browser
def test_it_learns_what_the_host_learns_bit_for_bit(visit, open_library, takes, words, recordings, tmp_path):
    tab, said, asked = visit()
    tab.set_input_files("#open-recordings", str(recordings))
    tab.wait_for_selector(f".take >> nth={3 * len(words) - 1}")
    assert tab.inner_text("#cue") == (f"{3 * len(words)} recordings opened. Passed over, since they are no takes of these words "
                                      "that this page saved: stray/notes.txt.")
    tab.click("#learn")
    tab.wait_for_selector("#matrices table")
    with tab.expect_download() as download:
        tab.click("#save-delta")
    delta = Path(download.value.path()).read_bytes()

    host = open_library()
    support = [(word, samples) for word, some in takes.items() for samples in some[:2]]
    host.start(clips=len(support))

    def heard():
        found = []
        for some in takes.values():
            host.hear(some[2])
            found.append(host.predict()[0])
        return found

    before = heard()
    for word, samples in support:
        host.hear(samples)
        host.keep(word)
    host.learn(rate=BUDGET.learning_rate, epochs=BUDGET.epochs, batch=len(support), seed=3)
    after = heard()
    assert delta == host.save("fp32"), "the delta's file is the same, byte for byte"
    right = [sum(number == word for word, number in enumerate(told)) for told in (before, after)]
    assert f"it knew {right[0]} before and knows {right[1]} now" in tab.inner_text("#outcome")
    shown = tab.eval_on_selector_all("#matrices table:nth-child(2) td.right, #matrices table:nth-child(2) td.wrong",
                                     "cells => cells.map(cell => [cell.className, Number(cell.innerText)])")
    assert sum(count for kind, count in shown if kind == "right") == right[1]
    assert sum(count for _, count in shown) == len(words)

    with tab.expect_download() as download:
        tab.click("#save-recordings")
    folder = tmp_path / "mine"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    own = personalise.read_recordings(folder, words, Features())
    assert len(own.files) == 3 * len(words) and not own.left_out

    tab.click("#undo")
    # The worker answers later; nothing is disabled meanwhile that one could wait for.
    tab.wait_for_selector("#outcome:has-text('base model again')")
    assert tab.is_disabled("#undo")
    assert said == [] and [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_microphone_is_heard_and_a_take_is_kept_trimmed_and_deleted(visit, takes, tmp_path, width):
    sound = tmp_path / "speech.wav"
    quiet = np.zeros(6_000, np.int16)
    sound.write_bytes(wav_bytes(np.concatenate([part for some in takes.values() for part in (quiet, some[0])])))
    tab, said, _ = visit("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={sound}", width=width)
    tab.focus("#microphone")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#live:visible")
    assert tab.inner_text("#microphone-state").startswith("listening")
    tab.focus("[data-record='0']")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".take", timeout=15_000)
    assert "is kept" in tab.inner_text("#cue")
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "no wider than the screen"
    tab.click("[aria-label^='Delete take 1']")
    assert tab.query_selector(".take") is None and tab.is_disabled("#learn")
    assert said == []


@needs_browser
def test_a_silent_microphone_gets_its_say(visit, tmp_path):
    sound = tmp_path / "silence.wav"
    sound.write_bytes(wav_bytes(np.zeros(32_000, np.int16)))
    tab, said, _ = visit("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={sound}")
    tab.click("#microphone")
    tab.wait_for_selector("#microphone-state:has-text('The microphone is silent')", timeout=15_000)
    assert tab.inner_text("#heard") == "quiet"
    tab.click("[data-record='0']")
    tab.wait_for_selector("#cue:has-text('Nothing was heard')", timeout=15_000)
    assert tab.query_selector(".take") is None and said == []


@needs_browser
def test_a_denied_microphone_gets_its_say(visit):
    tab, said, _ = visit("--deny-permission-prompts", permissions=())
    tab.click("#microphone")
    tab.wait_for_selector("#microphone-state:has-text('The microphone was denied')", timeout=15_000)
    assert tab.is_enabled("#microphone") and said == []
