"""GPU traces as they were published: Microsoft's Philly, Alibaba's openb (of the FGD paper, ATC'23), Tiresias' list of 60 jobs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tidegrid.simulation.traces.cells import read_cells
from tidegrid.simulation.traces.swf import coded
from tidegrid.simulation.traces.trace import COMPLETED, FAILED, UNKNOWN, Header, Trace, build

_PHASE = {"Succeeded": COMPLETED, "Failed": FAILED}


def read_philly(data: bytes, *, repair: bool = False) -> Trace:
    """timestamp, duration [s], num_gpus, gpu_time, cluster: `partition` is the virtual cluster. No CPUs are told: a processor is a GPU."""
    cells = read_cells(data, ",", repair=repair)
    cells.need("timestamp", "duration", "num_gpus", "cluster")
    submit, run = cells.moments("timestamp", essential=True), cells.whole("duration", essential=True)
    gpus = cells.whole("num_gpus", essential=True)
    partition, names = coded(cells.text("cluster"))
    kept = cells.settle()
    first = int(submit[kept].min())
    header = Header(start=first, computer="Microsoft Philly", notes=("a processor is a GPU",))
    trace = build(submit, run, requested=gpus, gpus=gpus, partition=partition, header=header, labels={"partition": names}, repairs=cells.repairs)
    trace = trace.take(kept)
    return replace(trace, submit=trace.submit - first)


def read_openb(data: bytes, *, repair: bool = False) -> Trace:
    """A pod list of openb: `queue` is the QoS, `gpu_type` the models a pod accepts (`V100M16|V100M32`), `gpu_milli` its part of one GPU."""
    cells = read_cells(data, ",", repair=repair)
    cells.need("cpu_milli", "memory_mib", "num_gpu", "creation_time", "deletion_time", "scheduled_time")
    submit, start = cells.whole("creation_time", essential=True), cells.whole("scheduled_time")
    end, milli = cells.whole("deletion_time"), cells.whole("cpu_milli", essential=True)
    ran = (start >= 0) & (end >= 0)
    for i in np.flatnonzero(ran & ((end < start) | (start < submit))):
        cells.defect("negative", int(i), "it is deleted before it is scheduled, or scheduled before it is created", drop=False)
    ran &= (end >= start) & (start >= submit)
    processors = np.maximum(1, -(-milli // 1000))
    memory = cells.whole("memory_mib")
    queue, queues = coded(cells.text("qos"))
    gpu_type, types = coded(cells.text("gpu_spec"))
    status = np.array([_PHASE.get(text, UNKNOWN) for text in cells.text("pod_phase")], np.int64)
    kept = cells.settle()
    return build(
        submit, np.where(ran, end - start, UNKNOWN), wait=np.where(ran, start - submit, UNKNOWN), requested=processors,
        memory=np.where(memory >= 0, memory * 1024 // processors, UNKNOWN), gpus=cells.whole("num_gpu"), gpu_milli=cells.whole("gpu_milli"),
        queue=queue, gpu_type=gpu_type, status=status, header=Header(computer="Alibaba openb"),
        labels={"queue": queues, "gpu_type": types}, repairs=cells.repairs,
    ).take(kept)  # fmt: skip


def read_tiresias(data: bytes, *, repair: bool = False) -> Trace:
    """job_id, num_gpu, submit_time, iterations, model_name, duration: a processor is a GPU, `application` the model that is trained."""
    cells = read_cells(data, ",", repair=repair)
    cells.need("num_gpu", "submit_time", "duration")
    submit, run = cells.whole("submit_time", essential=True), cells.whole("duration", essential=True)
    gpus, job = cells.whole("num_gpu", essential=True), cells.whole("job_id")
    application, names = coded(cells.text("model_name"))
    kept = cells.settle()
    return build(submit, run, job=job, requested=gpus, gpus=gpus, application=application, labels={"application": names},
                 header=Header(notes=("a processor is a GPU",)), repairs=cells.repairs).take(kept)  # fmt: skip
