"""Adapting the conventional classifier to a user's clips: all of it, or a small part (parameter-efficient fine-tuning).

What is trained beside the named part stays as it was, normalisation statistics too: batch normalisation runs in evaluation
mode, as a user's few clips would spoil its means. Every kind gives a :class:`edgekws.models.delta.delta.Delta`:

* ``full``: all weights. ``full_int8``: the same, seen through 8 bits as they are trained (matrices and kernels alone).
* ``readout``: the linear layer. ``last_layer``: the last block and the linear layer.
* ``threshold``: what shifts or scales a channel, all biases and the normalisations' affine parameters (BitFit: Ben Zaken
  et al., arXiv:2106.10199); a net without thresholds has its firing points there.
* ``lora``: factors beside the pointwise convolutions and the linear layer (Hu et al., arXiv:2106.09685), by Hugging Face
  PEFT. Depthwise kernels are left out: each is nine numbers of one channel, with no matrix between channels to factor; the
  library would give such a layer more new weights than it has, and cannot merge them.
* ``adapter``: residual bottlenecks behind the blocks (PEFT has none for convolutions).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from edgekws.core import optimiser
from edgekws.core.errors import UserError
from edgekws.core.provenance import derive_seed
from edgekws.methods.alternatives.ds_cnn.classifier import Classifier, embeddings
from edgekws.methods.alternatives.learning import MakeOptimiser
from edgekws.methods.alternatives.settings import AlternativeMethod, AlternativeTraining
from edgekws.models.delta.delta import Delta, apply
from edgekws.models.encoder import tensors_of
from edgekws.models.feedforward_lif import quantised
from edgekws.protocol.training import Features, Labels, batches

_LAST = "encoder.blocks.3."
_HEAD = "linear."

_TRAINED: Mapping[str, Callable[[str, Tensor], bool]] = {
    "full": lambda name, tensor: True,
    "full_int8": lambda name, tensor: True,
    "readout": lambda name, tensor: name.startswith(_HEAD),
    "last_layer": lambda name, tensor: name.startswith((_LAST, _HEAD)),
    "threshold": lambda name, tensor: tensor.ndim == 1,
    "lora": lambda name, tensor: ".lora_" in name,
    "adapter": lambda name, tensor: name.startswith("adapters."),
}


class Part:
    """A copy of a classifier of which one part is trained.

    Args:
        net: Stays as it is.
        method: The part (``kind``), and the ``rank`` of LoRA or of the adapters.
        seed: Of new weights.

    Attributes:
        net: The copy, in evaluation mode.
        weights: What is trained, by name; updates in place change the copy.

    Raises:
        UserError: The kind is a rule for spiking nets.
    """

    def __init__(self, net: Classifier, method: AlternativeMethod, *, seed: int) -> None:
        if method.kind not in _TRAINED:
            raise UserError(f"'{method.kind}' is a rule for spiking nets", where="method",
                            remedy=f"choose one of: {', '.join(_TRAINED)}")
        self.kind, self._base = method.kind, net
        match method.kind:
            case "lora":
                self.net = _with_lora(net, method.rank, seed)
            case "adapter":
                self.net = _with_adapters(net, method.rank, seed)
            case _:
                self.net = copy.deepcopy(net)
        trained = _TRAINED[method.kind]
        self.net.eval().requires_grad_(False)
        self.weights = {name: tensor.requires_grad_() for name, tensor in self.net.named_parameters() if trained(name, tensor)}

    def logits(self, features: Tensor) -> Tensor:
        """Logits [clips, outputs] of MFCC [clips, 47, 10] with the weights as they are; differentiable in them."""
        found: Tensor = functional_call(self.net, self._seen(), (features,))
        return found

    def delta(self) -> Delta:
        """What the weights are by now, apart from the base; shares no memory with the copy."""
        seen = {name: tensor.detach().clone() for name, tensor in self._seen().items()}
        if self.kind == "lora":
            return Delta(low_rank={f"{name}.weight": (seen[f"{name}.lora_B.default.weight"].flatten(1),
                                                      seen[f"{name}.lora_A.default.weight"].flatten(1))
                                   for name in self._base.factored()})
        own = tensors_of(self._base)
        return Delta(replaced={name: tensor for name, tensor in seen.items() if name in own},
                     added={name: tensor for name, tensor in seen.items() if name not in own})

    def _seen(self) -> dict[str, Tensor]:
        """The weights as the net sees them."""
        if self.kind != "full_int8":
            return self.weights
        return {name: quantised(tensor) if tensor.ndim > 1 else tensor for name, tensor in self.weights.items()}


def learn(net: Classifier, features: Features, labels: Labels, method: AlternativeMethod, budget: AlternativeTraining, *,
          seed: int, make: MakeOptimiser = optimiser.make) -> Delta:
    """Adapt a classifier to some clips by cross-entropy; see :class:`edgekws.methods.alternatives.learning.Learn`.

    Where the linear layer alone is trained, the convolutions run once, before the first epoch.

    Args:
        features: N clips, MFCC [N, 47, 10] when indexed.
        make: Of the optimiser.

    Raises:
        UserError: The clips do not fit the net, or the kind is a rule for spiking nets.
    """
    part = Part(net, method, seed=derive_seed(seed, "new weights"))
    logits: Callable[[Tensor], Tensor] = part.logits
    check: Callable[[Tensor], None] = net.check
    if method.kind == "readout":
        features, logits, check = embeddings(net, features), part.net.linear, lambda _: None
    trainer = make(method.optimiser, part.weights, budget.learning_rate)
    for batch, wanted in batches(features, labels, budget, trainer, part.weights, outputs=net.outputs, check=check,
                                 seed=seed):
        gradients = torch.autograd.grad(cross_entropy(logits(batch), wanted), list(part.weights.values()))
        trainer.step(dict(zip(part.weights, gradients, strict=True)))
        del batch, gradients
    return part.delta()


def adapted(net: Classifier, delta: Delta) -> Classifier:
    """The classifier that ``delta`` was learnt for, of its base and it; shares no memory with either.

    Raises:
        UserError: The delta does not fit the base.
    """
    return Classifier.of(apply(tensors_of(net), delta))


def _with_adapters(net: Classifier, bottleneck: int, seed: int) -> Classifier:
    """A copy with new adapters."""
    twin = Classifier(net.outputs, widths=net.encoder.widths, bottleneck=bottleneck, seed=seed)
    twin.load_state_dict(twin.state_dict() | net.state_dict())
    return twin


def _with_lora(net: Classifier, rank: int, seed: int) -> Classifier:
    """A copy with PEFT's factors beside pointwise convolutions and linear layer; their product is 0, and not scaled."""
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds to import

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=net.factored())
    twin = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, twin)
    return twin
