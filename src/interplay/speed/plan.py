"""What was chosen for each kind of run: alone or in a stack, and how many at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interplay.stack.grouping import kind, stack_key
from interplay.train.names import Autotune, StackPath
from interplay.trial import Spec


@dataclass(frozen=True)
class SpeedPlan:
    """How many runs of each kind may share a stack, how many workers a GPU, and why. By `grouping.kind`."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Networks in a stack; a kind that is not named takes the plain path."""
    why: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is noted in the environment of the records."""
    shares: Mapping[str, int] = field(default_factory=dict)
    """Workers that train runs of the kind on one GPU at once; one that is not named fills whatever slots there are."""
    paths: Mapping[str, StackPath] = field(default_factory=dict)
    """How those train that share a stack; ``fused`` for a kind that is not named."""
    autotunes: Mapping[str, Autotune] = field(default_factory=dict)
    """Which libraries search longer for fast kernels; none for a kind that is not named."""

    def limit(self, spec: Spec) -> int:
        """How many runs such as this one may share a stack; 0 for the plain path."""
        return self.sizes.get(stack_key(spec) or "", 0)

    def share(self, spec: Spec, slots: int) -> float:
        """The part of a GPU with ``slots`` slots that a worker with such a run takes."""
        return 1 / self.shares.get(kind(spec), max(1, slots))

    def path(self, spec: Spec) -> StackPath:
        """How a stack of such runs trains."""
        return self.paths.get(kind(spec), "fused")

    def autotune(self, spec: Spec) -> Autotune:
        """Which libraries search longer for such a run."""
        return self.autotunes.get(kind(spec), "none")

    def facts(self, spec: Spec) -> dict[str, Any]:
        """What the record of such a run says about the choice."""
        return dict(self.why.get(kind(spec), {}))
