"""Nodes, tasks, cores, memory and GPUs: what Slurm would leave to its controller is settled here."""

from __future__ import annotations

import math
from typing import Any

from tidegrid.catalog import batch_values as values
from tidegrid.catalog.batch_asked import Asked
from tidegrid.catalog.batch_options import Fate

CORE_MIB = 1024  # of a core's share of memory, where no node is known
LEAST_MIB = 256


class Shape(Asked):
    """The part of a translation that makes resources of counts."""

    def _resources(self) -> tuple[int, int, dict[str, Any]]:
        """(nodes, tasks on each, the resources without wall time)"""
        tasks = self._value("ntasks", values.count)
        per_node = self._value("ntasks-per-node", values.count)
        span = self._value("nodes", values.nodes)
        per_task = self._value("cpus-per-task", values.count)
        node_gpus, kind = self._gpus()
        all_gpus = self._value("gpus", values.gpus)
        gpus_a_task = self._value("gpus-per-task", values.gpus)
        if all_gpus is not None and not node_gpus:
            kind = all_gpus.type
        if gpus_a_task is not None:
            kind = gpus_a_task.type
        if (a_gpu := self._value("ntasks-per-gpu", values.count)) and tasks is None and per_node is None:
            if node_gpus:
                per_node = a_gpu * node_gpus
            elif all_gpus is not None:
                tasks = a_gpu * all_gpus.number
        cpus_a_gpu = self._value("cpus-per-gpu", values.count)
        total_gpus = all_gpus.number if all_gpus is not None and not node_gpus else 0

        def shape(n: int) -> tuple[int, int, int, str]:
            """(tasks, cores, GPUs) of each of n nodes, and why it cannot be."""
            if tasks is None:
                each = per_node or 1
            elif tasks % n:
                return 0, 0, 0, f"{tasks} tasks cannot be spread evenly over {n} nodes"
            else:
                each = tasks // n
                if per_node is not None and each > per_node:
                    return 0, 0, 0, f"{tasks} tasks, {per_node} a node, need more than {n} nodes"
            if total_gpus % n:
                return 0, 0, 0, f"{total_gpus} GPUs cannot be spread evenly over {n} nodes"
            gpus = node_gpus or total_gpus // n
            if gpus_a_task is not None:
                gpus = gpus_a_task.number * each
            cores = each * (per_task or 1)
            if cpus_a_gpu and per_task is None:
                cores = max(each, cpus_a_gpu * gpus)
            return each, cores, gpus, ""

        low, high = span or (1, 0)
        if span is not None and tasks is not None and tasks < low:
            low = high = tasks  # as sbatch does: no more nodes than tasks
        if span is None:
            low = math.ceil(tasks / per_node) if tasks is not None and per_node is not None else 1
            high = max(low, tasks or 1, total_gpus)
        places = self._eligible()
        why, chosen = "", None
        for n in range(low, min(high, low + 100_000) + 1):
            each, cores, gpus, trouble = shape(n)
            why = why or trouble
            if trouble:
                continue
            chosen = chosen or (n, each, cores, gpus)  # nothing is large enough: placement says so
            if not places or any(p.cores >= cores and p.gpus >= gpus for p in places) or (span == (low, high) and low == high):
                chosen = (n, each, cores, gpus)
                break
        if chosen is None:
            g = self.got.get("ntasks") or self.got.get("gpus") or self.got.get("nodes")
            self._refuse(g, f"{why}: say --nodes and --ntasks-per-node so that it comes out even")
            chosen = (1, 1, 1, 0)
        n, each, cores, gpus = chosen
        if span is None and n > 1:
            self._remark(0, "nodes", Fate.USED, f"{n} nodes with {each} tasks each: the fewest that hold them evenly")
        if span is not None and span[0] != span[1]:
            self._remark(self.got["nodes"].line, "nodes", Fate.USED, f"{n} of {span[0]} to {span[1]} nodes")
        out: dict[str, Any] = {"cores": cores, "memory_mib": self._memory(cores, gpus), "nodes": n, "ranks": each}
        if gpus:
            out |= {"gpus": gpus} | ({"gpu_type": kind} if kind else {})
        if "exclusive" in self.got:
            out["exclusive"] = True
            if (how := self.got["exclusive"].value) in ("user", "mcs", "topo"):
                self._leave_out(self.got["exclusive"], f"exclusive={how} is read as whole nodes")
        return n, each, out

    def _memory(self, cores: int, gpus: int) -> int:
        """MiB on each node."""
        asked = {k: self.got[k] for k in ("mem", "mem-per-cpu", "mem-per-gpu") if k in self.got}
        top = max((g.rank for g in asked.values()), default=0)
        asked = {k: g for k, g in asked.items() if g.rank == top}
        if len(asked) > 1:
            names = " and ".join(f"--{k}" for k in asked)
            self._refuse(list(asked.values())[-1], f"{names} exclude each other, as in Slurm")
        places = [p for p in self._eligible() if p.cores >= cores and p.gpus >= gpus] or self._eligible()
        for key, g in asked.items():
            found = self._value(key, values.mebibytes)
            if found is None:
                return LEAST_MIB
            if found:
                return int(found) * {"mem": 1, "mem-per-cpu": cores, "mem-per-gpu": max(gpus, 1)}[key]
            if not places:
                self._refuse(g, f"--{key}=0, all of a node's memory, cannot be told without a network: name an amount")
                return LEAST_MIB
            least = min(p.memory_mib for p in places)
            self._remark(g.line, key, Fate.USED, f"all of a node's memory: {least} MiB, of the smallest node it may run on")
            return least
        whole = "exclusive" in self.got
        if places:
            share = min(p.memory_mib if whole else p.memory_mib * cores // max(p.cores, 1) for p in places)
        else:
            share = CORE_MIB * cores
        share = max(LEAST_MIB, share)
        self._remark(0, "mem", Fate.USED, f"no memory is asked for: {share} MiB a node, {'all of it' if whole else 'its share for the cores'}")
        return share

    def _gpus(self) -> tuple[int, str]:
        """GPUs of each node, and their type."""
        found = values.Gpus(0)
        if (asked := self._value("gres", values.gres)) is not None:
            found, others = asked
            for other in others:
                self._refuse(self.got["gres"], f"the generic resource {other} is not known here")
        if (asked_node := self._value("gpus-per-node", values.gpus)) is not None:
            found = asked_node
        return found.number, found.type
