"""AccaSim 1.1.3 on a log, for a Python that has it: `python accasim_peer.py LOG.swf PROCESSORS` prints the CPU seconds of its EASY with first fit.

It names its abstract collections where Python had them before 3.10. Memory is left out: logs that ask for none divide by it. It writes beside
its script: copy that to where it may.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import sys
import time

for name in collections.abc.__all__:
    if not hasattr(collections, name):
        setattr(collections, name, getattr(collections.abc, name))

from accasim.base.allocator_class import FirstFit  # noqa: E402
from accasim.base.scheduler_class import EASYBackfilling  # noqa: E402
from accasim.base.simulator_class import Simulator  # noqa: E402


def main(log: str, processors: int) -> None:
    machine = {"system_name": "peer", "start_time": 0, "equivalence": {"processor": {"core": 1}}, "groups": {"node": {"core": 1}},
               "resources": {"node": processors}}  # fmt: skip
    with open("machine.json", "w") as out:
        json.dump(machine, out)
    simulator = Simulator(
        log, "machine.json", EASYBackfilling(FirstFit()), name="peer", scheduling_output=True, pprint_output=False, benchmark_output=False,
        statistics_output=False, save_parameters=None, show_statistics=False,
    )  # fmt: skip
    began = time.process_time()
    simulator.start_simulation()
    print(json.dumps({"seconds": time.process_time() - began}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
