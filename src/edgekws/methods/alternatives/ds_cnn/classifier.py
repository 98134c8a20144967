"""A keyword classifier of depthwise-separable convolutions, as a product would ship it: MFCC to words.

The net is DS-CNN-S (Zhang et al., "Hello Edge", arXiv:1711.07128) as the wake-word encoder has it (onda.md, section 3.2),
up to its last map, then a ReLU, the mean over the map and a linear layer. The encoder's last step, bringing embeddings to
length 1, is left out: it serves distances, and would bound the logits that cross-entropy wants to grow. The ReLU is Hello
Edge's; without it the last pointwise convolution and the linear layer would be one linear map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekws.core import files
from edgekws.core.errors import UserError
from edgekws.features import pack
from edgekws.features.logmel import FloatArray, prepare
from edgekws.features.mfcc import COEFFICIENTS, FRAMES, mfcc
from edgekws.models.ds_cnn import DsCnn
from edgekws.models.encoder import WIDTHS, tensors_of
from edgekws.models.tensors import load, size
from edgekws.protocol.clips import Clips, Corpus
from edgekws.protocol.training import Features

ARCHITECTURE = "ds_cnn_classifier"
_CHUNK = 64  # clips that are run together: keeps the maps in the cache


# ------------------------------------------------------------------------------------------------ features
def extract(archive: Path, index_path: Path, out: Path, *, batch: int = 64, progress: bool = False) -> None:
    """Compute the MFCC of every clip of an index, in one pass over the archive, and write them to ``out`` (.npy).

    Row i of ``out`` is the clip whose ``clip`` is i in the index; float32 (clips, 47, 10), on no scale: that is the
    model's. A clip is brought to a peak of 1 and to one second first, as it is for Traces Propagation
    (:func:`edgekws.features.logmel.prepare`). Memory is bounded by ``batch`` clips.

    Raises:
        UserError: An input is missing or not readable, a clip of the index is not in the archive, or the disk is full.
            Nothing is left of ``out`` then.
    """
    index, clips = pack.corpus_clips(archive, index_path, progress=progress)
    waves = pack.wave_batches(((row, prepare(samples)) for row, samples in clips), batch)
    batches: Iterable[tuple[list[int], FloatArray]] = ((rows, mfcc(torch.from_numpy(some)).numpy()) for rows, some in waves)
    with files.writing(out) as part:
        pack.write_rows(part, (len(index), FRAMES, COEFFICIENTS), batches)


def clips_of(corpus: Corpus, rows: npt.ArrayLike) -> Clips:
    """Clips of a corpus of MFCC as the classifier takes them: undivided, as its own scale is in the model."""
    return corpus.clips(rows, frozen_scale=torch.ones(COEFFICIENTS))


# ------------------------------------------------------------------------------------------------ the net
class Adapter(nn.Module):
    """A residual bottleneck, x + up relu(down x) at each place of a map; the identity when new.

    A series adapter (Houlsby et al., arXiv:1902.00751) of 1 x 1 convolutions (Rebuffi et al., arXiv:1705.08045), without
    biases. ``down`` is [bottleneck, channels, 1, 1], ``up`` is [channels, bottleneck, 1, 1] and zero.
    """

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, bottleneck, 1, bias=False)
        self.up = nn.Conv2d(bottleneck, channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, maps: Tensor) -> Tensor:
        added: Tensor = self.up(functional.relu(self.down(maps)))
        return maps + added


class Classifier(nn.Module):
    """A DS-CNN-S from MFCC to words, in evaluation mode; its weights follow from the seed alone.

    Args:
        outputs: Words.
        widths: Channels of the first convolution and of the four blocks.
        bottleneck: Width of an adapter behind each block; 0 for none.
        seed: Of the weights, adapters' included.

    Attributes:
        encoder: Its convolutions with their normalisations; its length-1 step is not used.
        adapters: One for each block, or none.
        linear: From the mean of the last map to logits.
        mean, deviation: Of each coefficient over the training clips, [10]; inputs are brought to (x - mean) / deviation.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, outputs: int, *, widths: Iterable[int] = WIDTHS["ds_cnn_s"], bottleneck: int = 0,
                 seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = DsCnn(list(widths), "stem")
            self.linear = nn.Linear(self.encoder.widths[-1], outputs)
            self.adapters = nn.ModuleList(
                Adapter(width, bottleneck) for width in self.encoder.widths[1:] if bottleneck)
        self.register_buffer("mean", torch.zeros(COEFFICIENTS))
        self.register_buffer("deviation", torch.ones(COEFFICIENTS))
        self.eval()

    @property
    def outputs(self) -> int:
        """Words."""
        return self.linear.out_features

    def check(self, features: Tensor) -> None:
        """Raises: UserError if ``features`` is not [clips, 47, 10]."""
        if features.ndim != 3 or tuple(features.shape[1:]) != (FRAMES, COEFFICIENTS):
            raise UserError(f"features of shape {tuple(features.shape)} do not fit a classifier of MFCC", where="features",
                            remedy=f"give [clips, {FRAMES}, {COEFFICIENTS}], made with its own front end")

    def embed(self, features: Tensor) -> Tensor:
        """What the linear layer reads, [clips, widths[-1]], of MFCC [clips, 47, 10]; differentiable."""
        maps = self.encoder.stem(((features - self.mean) / self.deviation)[:, None])
        for index, block in enumerate(self.encoder.blocks):
            maps = block(maps)
            if self.adapters:
                maps = self.adapters[index](maps)
        return functional.relu(maps).mean((2, 3))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [clips, outputs] of MFCC [clips, 47, 10]; differentiable."""
        logits: Tensor = self.linear(self.embed(features))
        return logits

    def factored(self) -> list[str]:
        """Names of the layers that are matrices between channels: pointwise convolutions, [out, in, 1, 1], and linear."""
        return [*(f"encoder.blocks.{block}.4" for block in range(len(self.encoder.blocks))), "linear"]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Classifier:
        """The classifier of a file's tensors (:func:`edgekws.models.encoder.tensors_of`); it shares no memory with them.

        Raises:
            UserError: A tensor is missing or one too many, or the shapes do not fit one another.
        """
        layers = ["stem.1", *(f"blocks.{block}.4" for block in range(len(WIDTHS["ds_cnn_s"]) - 1))]
        widths = [size(tensors, f"encoder.{layer}.weight", 0, 4) for layer in layers]
        bottleneck = size(tensors, "adapters.0.down.weight", 0, 4) if "adapters.0.down.weight" in tensors else 0
        net = cls(size(tensors, "linear.weight", 0), widths=widths, bottleneck=bottleneck)
        load(net, tensors)
        return net


# ------------------------------------------------------------------------------------------------ what it says
def predict(net: Classifier, features: Features) -> npt.NDArray[np.int64]:
    """Class of each clip (N,): the largest logit.

    Raises:
        UserError: The features do not fit the net.
    """
    found: npt.NDArray[np.int64] = net.linear(embeddings(net, features)).argmax(1).cpu().numpy()
    return found


@torch.no_grad()
def embeddings(net: Classifier, features: Features) -> Tensor:
    """What the linear layer reads of each clip, [N, widths[-1]], without a gradient; some clips at a time.

    Raises:
        UserError: The features do not fit the net.
    """
    found = [net.mean.new_zeros(0, net.linear.in_features)]
    for start in range(0, len(features), _CHUNK):
        chunk = torch.as_tensor(features[np.arange(start, min(start + _CHUNK, len(features)))]).to(net.mean)
        net.check(chunk)
        found.append(net.embed(chunk))
    return torch.cat(found)


# ------------------------------------------------------------------------------------------------ files
def save_classifier(path: str | Path, net: Classifier, *, vocabulary: Iterable[str],
                    about: Mapping[str, Any] | None = None, provenance: Mapping[str, Any]) -> None:
    """Write a classifier as safetensors.

    Args:
        vocabulary: The words, in the order of the outputs.
        about: Further settings to keep: what the net was trained with.
        provenance: From :func:`edgekws.core.provenance.provenance`.
    """
    files.write_model(path, tensors_of(net), architecture=ARCHITECTURE, provenance=provenance,
                      settings={**(about or {}), "vocabulary": list(vocabulary), "padding": list(net.encoder.padding)})


def load_classifier(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """A classifier written by :func:`save_classifier`, on the CPU, and its metadata.

    The metadata holds ``vocabulary`` (list of words), ``settings`` and ``provenance``.

    Raises:
        UserError: The file is missing, is no such model, is damaged, or is of a net that padded its input otherwise.
    """
    tensors, metadata = files.read_model(path, ARCHITECTURE)
    try:
        net = Classifier.of(tensors)
    except UserError as error:
        raise UserError(error.what, where=path, remedy=error.remedy) from error
    net.encoder.check_padding(metadata["settings"].get("padding"), path)
    return net, {**metadata, "vocabulary": files.vocabulary_of(metadata, net.linear.out_features, path)}
