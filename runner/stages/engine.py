"""One process of the training engine: `python -m runner.stages.engine CONFIG`, or the same under torchrun.

It is `python -m axolotl.cli.train CONFIG`, but for two things that must hold before Axolotl starts. Axolotl
logs a plugin that cannot be imported and trains without it; here that ends the process. And a process
whose parent is gone is told so, instead of training on unseen.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from runner.spec.problems import MachineError, RunnerError

PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal that a process gets when its parent dies."""


def main() -> None:
    """Train as the config of the first argument says."""
    path = Path(sys.argv[1])
    # Once more, for whoever starts this by hand: without these the engine sends its config away.
    os.environ |= {"AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
    stop_with_parent()
    try:
        import_plugins(path)
    except RunnerError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    from axolotl.cli.train import do_cli

    do_cli(str(path))


def import_plugins(path: Path) -> None:
    """Import every plugin that the config names.

    Raises:
        MachineError: one cannot be imported; names it and says why.
    """
    import yaml

    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for plugin in config.get("plugins") or ():
        module, _, name = plugin.rpartition(".")
        try:
            getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise MachineError(
                f"the plugin {plugin} cannot be imported by {sys.executable}: {error}\n"
                "  without it nothing would prove what the engine trains; nothing was started"
            ) from error


def stop_with_parent() -> None:
    """Ask Linux for a signal when the parent process dies; elsewhere nothing.

    It is SIGTERM, upon which the engine saves, where the parent is the train stage. Where it is torchrun, which
    asks its workers itself before it ends in order, SIGKILL: torchrun was killed, and its workers, each
    a session of its own, were out of reach of whoever killed the group.
    """
    if sys.platform == "linux":
        torchrun = "TORCHELASTIC_RUN_ID" in os.environ
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL if torchrun else signal.SIGTERM)


if __name__ == "__main__":
    main()
