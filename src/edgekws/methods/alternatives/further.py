"""The verbs of the bench that live with what they are about."""

from __future__ import annotations

from edgekws.methods.alternatives.depth import cli as depth
from edgekws.methods.alternatives.federated import cli as federated
from edgekws.methods.alternatives.strong import cli as strong

COMMANDS = [command for room in (strong, depth, federated) for command in room.app.registered_commands]
