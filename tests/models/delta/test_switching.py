"""Switching users in place: every net on the way is the one that a fresh start would give."""

import copy

import pytest
import torch

from edgekws.core.errors import UserError
from edgekws.models.delta.delta import Delta
from edgekws.models.delta.switching import Switch
from edgekws.models.recurrent_lif import RecurrentLIF
from edgekws.models.settings import Network


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def inference():
    """Nets as they are used, not trained."""
    with torch.no_grad():
        yield


@pytest.fixture
def net():
    return RecurrentLIF(Network(hidden=[20], threshold=0.3), inputs=6, outputs=4, generator=torch.Generator().manual_seed(0))


USERS = {
    "dense": Delta(replaced={"hidden.0.recurrent": random(20, 20, seed=1) / 9, "readout": random(4, 20, seed=2)}),
    "low_rank": Delta(low_rank={"hidden.0.input": (random(20, 2, seed=3), random(2, 6, seed=4)),
                                "readout": (random(4, 2, seed=5), random(2, 20, seed=6))}),
    "added": Delta(added={"hidden.0.threshold": 0.5 + 0.1 * random(20, seed=7).abs(), "adapter.down": random(3, 20, seed=8),
                          "adapter.up": random(20, 3, seed=9)}),
    "int8": Delta(difference={"readout": random(4, 20, seed=10)})}
CLIPS = torch.rand(10, 25, 6, generator=torch.Generator().manual_seed(2)) * 2


def test_any_user_after_any_other_and_the_base_between_are_bit_identical(net):
    base = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fresh = {name: net.adapted(delta) for name, delta in USERS.items()} | {None: copy.deepcopy(net)}
    logits = {name: other.forward(CLIPS) for name, other in fresh.items()}
    assert len({tuple(found.flatten().tolist()) for found in logits.values()}) == 5
    switch = Switch(net)
    for first in [*USERS, None]:
        for second in [*USERS, None]:
            for name in (first, second, first, None):
                switch.to(USERS[name] if name else None)
                assert torch.equal(net.forward(CLIPS), logits[name]), (first, second, name)
                assert net.state_dict().keys() == fresh[name].state_dict().keys()
                assert all(torch.equal(tensor, fresh[name].state_dict()[key]) for key, tensor in net.state_dict().items())
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in base.items()) and not net.added


def test_the_net_keeps_its_memory_and_the_users_theirs(net):
    places = [tensor.data_ptr() for tensor in net.trained.values()]
    kept = {name: {key: tensor.clone() for key, tensor in delta.tensors().items()} for name, delta in USERS.items()}
    switch = Switch(net)
    for delta in [*USERS.values(), *reversed(USERS.values())]:
        switch.to(delta)
    assert [tensor.data_ptr() for tensor in net.trained.values()] == places
    assert all(torch.equal(tensor, USERS[name].tensors()[key]) for name, old in kept.items() for key, tensor in old.items())


def test_only_what_the_deltas_name_is_touched(net):
    """A write to a tensor would also undo what another hand has written there in the meantime."""
    switch = Switch(net)
    switch.to(USERS["low_rank"])
    net.state_dict()["hidden.0.recurrent"].fill_(7)
    switch.to(USERS["int8"])
    switch.to(None)
    assert net.state_dict()["hidden.0.recurrent"].eq(7).all()


def test_a_base_that_was_adapted_before_comes_back(net):
    own = net.adapted(USERS["added"])
    logits = own.forward(CLIPS)
    switch = Switch(own)
    switch.to(Delta(replaced={"hidden.0.threshold": torch.full((20,), 0.4)}))
    assert not torch.equal(own.forward(CLIPS), logits)
    switch.to(None)
    assert torch.equal(own.forward(CLIPS), logits)


@pytest.mark.parametrize("bad", [Delta(replaced={"readout": torch.zeros(4, 19)}), Delta(difference={"nothing": torch.zeros(4)}),
                                 Delta(added={"nothing": torch.zeros(4)})])
def test_a_delta_that_does_not_fit_changes_nothing(net, bad):
    switch = Switch(net)
    switch.to(USERS["dense"])
    before = net.forward(CLIPS)
    with pytest.raises(UserError):
        switch.to(bad)
    assert torch.equal(net.forward(CLIPS), before)


def test_modules_of_torch_are_switched_too():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5)).eval()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    images = random(2, 3, 4, 4, seed=1)
    before = module(images)
    switch = Switch(module)
    up, down = random(5, 1, seed=2), random(1, 3, seed=3)
    switch.to(Delta(replaced={"1.running_mean": torch.ones(5)}, low_rank={"0.weight": (up, down)}))
    weight = state["0.weight"] + (up @ down)[..., None, None]
    wanted = torch.nn.functional.conv2d(images, weight, state["0.bias"]) - 1
    torch.testing.assert_close(module(images), wanted / (1 + 1e-5) ** 0.5)
    switch.to(None)
    assert torch.equal(module(images), before)
