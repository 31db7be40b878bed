"""The command that trains one network."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from interplay.cli.flags import flag
from interplay.cli.options import AMP, KNOBS, KnobFlags, options_of
from interplay.spec import RunSpec


@dataclasses.dataclass(kw_only=True)
class RunFlags(KnobFlags, options_of("run")):  # type: ignore[misc]
    """Train one network and leave its record and its row in results.csv."""

    EXAMPLE = "interplay run --dataset digits --model mlp --epochs 20 --lr 0.1 --wd 5e-4"

    use_amp: Annotated[bool, AMP] = flag(True, "training")

    def spec(self) -> RunSpec:
        """The specification that the flags describe."""
        knobs = {name: getattr(self, name) for name in KNOBS}
        return RunSpec(**knobs, precision="bf16" if self.use_amp else "fp32")

    def call(self) -> int:
        """Run it, and print how it ended and where everything lies."""
        spec, settings = self.spec(), self.settings()
        from interplay.lab import run  # torch: not where the flags ask for what is impossible

        print(run.summary(run.run(spec, settings), settings.store()))
        return 0
