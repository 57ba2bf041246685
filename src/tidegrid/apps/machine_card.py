"""A machine card: what the machine this runs on can do, measured in less than half a minute of CPU time.

Runs at sites that have nothing installed: Python >= 3.6 and its standard library; a C compiler is used where there is one. Prints or
writes JSON: {schema, host, cpu_s, wall_s, values: {name: {value, unit, tier, error, n, note}}}. tier: measured (timed here), exact
(as the kernel or the driver says), unavailable (value null, and note says why; never 0). error: half the span of the repetitions,
in the value's unit; null for what was not repeated.
"""

import argparse
import ctypes
import ctypes.util
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

SCHEMA = 1
HERE = os.path.dirname(os.path.abspath(__file__))
WIDTHS = {  # name -> (bytes of a vector, compiler options, flag in /proc/cpuinfo that must be there)
    "x86_64": [
        ("scalar", 0, ["-mno-avx"], "sse2"),
        ("sse2", 16, ["-mno-avx"], "sse2"),
        ("avx2", 32, ["-mavx2", "-mfma"], "avx2"),
        ("avx512", 64, ["-mavx512f", "-mfma", "-mprefer-vector-width=512"], "avx512f"),
    ],
    "aarch64": [("scalar", 0, [], ""), ("neon", 16, [], "asimd")],
}
SECONDS, REPEATS = 0.06, 5
MIB = 1 << 20


class Card:
    """Collects values."""

    def __init__(self):
        self.values = {}

    def put(self, name, value, unit, tier="exact", error=None, n=1, note=""):
        self.values[name] = {"value": value, "unit": unit, "tier": tier, "error": error, "n": n, "note": note}

    def measured(self, name, samples, unit, note=""):
        """The median of the repetitions."""
        ordered = sorted(samples)
        middle = ordered[len(ordered) // 2]
        error = _round((ordered[-1] - ordered[0]) / 2) if len(ordered) > 1 else None
        self.put(name, _round(middle), unit, "measured", error, len(ordered), note)

    def missing(self, name, unit, why):
        self.put(name, None, unit, "unavailable", None, 0, why)


def _round(x):
    return float("%.5g" % x)


def run(words, timeout=30, **more):
    """(exit status, standard output, last line of standard error); status 127 where it is not there, 124 where it takes too long."""
    try:
        done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **more)
    except OSError as e:
        return 127, "", str(e)
    try:
        out, err = done.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        done.kill()
        done.communicate()
        return 124, "", "it took more than %s s" % timeout
    lines = err.decode(errors="replace").strip().splitlines()
    return done.returncode, out.decode(errors="replace"), lines[-1] if lines else ""


# What the kernel says -----------------------------------------------------------------------------------------------------


def read(path, default=""):
    try:
        with open(path) as f:
            return f.read().strip()
    except (OSError, UnicodeDecodeError):
        return default


def cpu_flags():
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    return set(found.group(1).split()) if found else set()


def cores():
    """How many this may use: those it is bound to, or as many of them as the job asked for."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("TIDE_CORES", "")
    return min(bound, int(asked)) if asked.isdigit() and int(asked) else bound


def quota(card):
    """How many cores' time the cgroups above this process give it; all of them where there is no limit."""
    found = re.search(r"^0::(/.*)$", read("/proc/self/cgroup"), re.M)
    path, least = found.group(1) if found else "/", float(cores())
    while True:
        part = read("/sys/fs/cgroup" + path.rstrip("/") + "/cpu.max").split()
        if len(part) == 2 and part[0].isdigit() and part[1].isdigit():
            least = min(least, int(part[0]) / int(part[1]))
        if path == "/":
            break
        path = os.path.dirname(path)
    card.put("cpu_quota", _round(least), "cores", note="of the cores it may use, and of its cgroups' limits, the least")


def host():
    info = read("/proc/cpuinfo")
    model = re.search(r"^(?:model name|Hardware)\s*:\s*(.*)$", info, re.M)
    part = re.findall(r"^CPU (?:implementer|part)\s*:\s*(.*)$", info, re.M)
    return {
        "arch": platform.machine(),
        "cpu_model": model.group(1) if model else " ".join(part[:2]),
        "cores": cores(),
        "memory_mib": memory_mib(),
        "kernel": platform.release(),
        "virtual": "hypervisor" in cpu_flags(),
        "python": platform.python_version(),
    }


def memory_mib():
    found = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.M)
    return int(found.group(1)) // 1024 if found else 0


def caches(card):
    """KiB of each, and of the last level how many cores share one; the sizes in KiB by level."""
    base, found = "/sys/devices/system/cpu/cpu%d/cache" % min(os.sched_getaffinity(0)), {}
    for entry in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        size, kind = read(os.path.join(base, entry, "size")), read(os.path.join(base, entry, "type"))
        level = read(os.path.join(base, entry, "level"))
        if not re.match(r"^\d+K$", size) or not level.isdigit() or kind == "Instruction":
            continue
        found[int(level)] = int(size[:-1])
        card.put("cache_l%s" % level, int(size[:-1]), "KiB", note="shared by CPUs " + read(os.path.join(base, entry, "shared_cpu_list")))
    for level in (1, 2, 3):
        if level not in found:
            card.missing("cache_l%d" % level, "KiB", "the kernel does not say")
    return found


# What is timed ------------------------------------------------------------------------------------------------------------


class Probes:
    """machine_card.c, built once for each vector width."""

    def __init__(self, where, cpus):
        self.where, self.built, self.why = where, {}, ""
        self.cc = next((c for c in (os.environ.get("CC", ""), "cc", "gcc", "clang") if c and shutil.which(c)), "")
        self.source = os.path.join(HERE, "machine_card.c")
        self.widths = [w for w in WIDTHS.get(platform.machine(), [("scalar", 0, [], "")]) if not w[3] or w[3] in cpus]
        if not self.cc or not os.path.exists(self.source):
            self.why = "there is no C compiler" if not self.cc else "machine_card.c is not beside this script"
            return
        for name, size, options, _ in self.widths:
            target = os.path.join(where, name)
            words = [self.cc, "-O3", "-ffp-contract=fast", "-fno-tree-slp-vectorize"] + options
            status, _, err = run(words + ["-DBYTES=%d" % size, "-pthread", self.source, "-o", target], timeout=60)
            if status == 0:
                self.built[name] = target
            else:
                self.why = "%s: %s" % (self.cc, err)

    @property
    def best(self):
        """The program for the widest vectors."""
        return self.built[[n for n, _, _, _ in self.widths if n in self.built][-1]] if self.built else ""

    def samples(self, program, probe, repeats=REPEATS, seconds=SECONDS, kib=0, count=1):
        """Numbers; none where it failed."""
        status, out, _ = run([program, probe, str(repeats), str(seconds), str(kib), str(count)])
        return [float(x) for x in out.split()] if status == 0 else []


def compute(card, probes, cpus):
    """Peak of one core by precision and vector width, and of all cores at the widest; clock."""
    for precision in ("dp", "sp"):
        for name, _, _, flag in WIDTHS.get(platform.machine(), [("scalar", 0, [], "")]):
            label = "peak_%s_%s" % (precision, name)
            if flag and flag not in cpus:
                card.missing(label, "GF/s", "this processor has no %s" % flag)
                continue
            program = probes.built.get(name)
            samples = probes.samples(program, "peak_" + precision) if program else []
            if samples:
                card.measured(label, samples, "GF/s", "one core")
            else:
                card.missing(label, "GF/s", probes.why or "the probe failed")
        own = [v["value"] for k, v in card.values.items() if k.startswith("peak_%s_" % precision) and v["value"]]
        if own:
            best = max((k for k in card.values if k.startswith("peak_%s_" % precision)), key=lambda k: card.values[k]["value"] or 0)
            card.values["peak_%s_core" % precision] = dict(card.values[best], note="one core, " + best.split("_")[2])
            together(card, probes, precision)
        elif not blas(card, precision):
            card.missing("peak_%s_core" % precision, "GF/s", probes.why or "no probe ran")
    samples = probes.samples(probes.best, "clock") if probes.built else []
    if samples:
        card.measured("clock_core", samples, "GHz", "a chain of dependent additions")
    else:
        card.missing("clock_core", "GHz", probes.why or "the probe failed")


def together(card, probes, precision):
    """All cores at once, one process a core: the sum of what each does in a second of its own CPU time."""
    count = cores()
    running = [
        subprocess.Popen([probes.best, "peak_" + precision, "3", str(SECONDS)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(count)
    ]
    rows = [[float(x) for x in p.communicate()[0].split()] for p in running]
    if all(len(r) == 3 for r in rows):
        card.measured("peak_%s_all" % precision, [sum(r[i] for r in rows) for i in range(3)], "GF/s", "%d cores" % count)
    else:
        card.missing("peak_%s_all" % precision, "GF/s", "the probe failed")


def blas(card, precision):
    """Without a compiler: a matrix product of numpy's, where there is one; a lower bound of the peak."""
    code = (
        "import os,time\nfor k in ('OMP','OPENBLAS','MKL'): os.environ[k+'_NUM_THREADS']='1'\n"
        "import numpy as n\na=n.ones((768,768),n.%s)\na@a\n"
        "for _ in range(5):\n t=time.thread_time();a@a;a@a;print(4*768**3/(time.thread_time()-t)/1e9)"
    ) % ("float64" if precision == "dp" else "float32")
    status, out, _ = run([sys.executable, "-c", code])
    if status == 0 and out.split():
        note = "one core, numpy's matrix product: a lower bound, for there is no C compiler"
        card.measured("peak_%s_core" % precision, [float(x) for x in out.split()], "GF/s", note)
    return status == 0


def memory(card, probes, sizes):
    """Triad by core count; latency at each level."""
    last = max(sizes.values()) if sizes else 32768
    room = memory_mib() * 1024 // 8
    large = max(65536, min(4 * last, 524288, room))
    count = cores()
    steps = sorted({1, count} | {2 ** i for i in range(1, 10) if 2 ** i < count})
    for n in steps:
        name = "bandwidth_triad_%d" % n
        samples = probes.samples(probes.best, "triad", 3, 0.12, max(large, 3 * last), n) if probes.built else []
        if samples:
            card.measured(name, samples, "GB/s", "%d core%s; 24 bytes an element, as STREAM counts" % (n, "" if n == 1 else "s"))
        elif n == 1:
            copied(card, name)
        else:
            card.missing(name, "GB/s", probes.why or "the probe failed")
    whole = card.values["bandwidth_triad_%d" % count]
    card.values["bandwidth_triad_all"] = dict(whole)
    for level, kib in sorted(sizes.items()) + [(0, large)]:
        name = "latency_l%d" % level if level else "latency_memory"
        samples = probes.samples(probes.best, "latency", 3, 0.05, kib // 2 if level else large) if probes.built else []
        if samples:
            card.measured(name, samples, "ns", "a walk through %d KiB" % (kib // 2 if level else large))
        else:
            card.missing(name, "ns", probes.why or "the probe failed")


def copied(card, name):
    """Without a compiler: the C library's own copy of a large block; 2 bytes moved a byte."""
    source, samples = bytearray(64 * MIB), []
    target = bytearray(64 * MIB)
    clock = getattr(time, "thread_time", time.process_time)
    for _ in range(4):
        began = clock()
        target[:] = source
        samples.append(2 * 64 * MIB / (clock() - began) / 1e9)
    card.measured(name, samples[1:], "GB/s", "one core, a copy and no triad, for there is no C compiler")


def filesystem(card, where):
    """Wall time: what a job would see. Reading is asked for after the page cache was told to forget."""
    block, path = os.urandom(MIB) * 8, os.path.join(where, "data")
    rates, synced, back = [], [], []
    for _ in range(3):
        began = time.monotonic()
        with open(path, "wb", buffering=0) as f:
            for _ in range(8):
                f.write(block)
            os.fsync(f.fileno())
            rates.append(64 * MIB / (time.monotonic() - began) / 1e6)
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.monotonic()
        with open(path, "rb", buffering=0) as f:
            while f.read(8 * MIB):
                pass
        back.append(64 * MIB / (time.monotonic() - began) / 1e6)
    with open(path, "wb", buffering=0) as f:
        for _ in range(15):
            f.write(block[:4096])
            began = time.monotonic()
            os.fsync(f.fileno())
            synced.append((time.monotonic() - began) * 1e3)
    names = [os.path.join(where, "f%d" % i) for i in range(500)]
    made, looked = [], []
    for _ in range(3):
        began = time.monotonic()
        for name in names:
            open(name, "w").close()
        made.append(len(names) / (time.monotonic() - began))
        began = time.monotonic()
        for name in names:
            os.stat(name)
        looked.append(len(names) / (time.monotonic() - began))
        for name in names:
            os.unlink(name)
    note = "64 MiB in %s" % (kind_of(where) or "the working directory")
    card.measured("fs_write", rates, "MB/s", note + ", with its fsync")
    card.measured("fs_read", back, "MB/s", note + ", after the page cache was told to forget it")
    card.measured("fs_fsync", synced, "ms", "after 4 KiB")
    card.measured("fs_create", made, "1/s", "500 files")
    card.measured("fs_stat", looked, "1/s", "500 files")


def kind_of(where):
    """The filesystem's kind, by the longest mount point above `where`."""
    best, kind = "", ""
    for line in read("/proc/self/mounts").splitlines():
        part = line.split()
        if len(part) > 2 and len(part[1]) >= len(best) and (where + "/").startswith(part[1].rstrip("/") + "/"):
            best, kind = part[1], part[2]
    return kind


# MPI ----------------------------------------------------------------------------------------------------------------------

SIZES = ((8, 1000), (MIB, 40))


def mpi(card, where):
    """Ping-pong of two ranks on this node. Without a compiler wrapper the library is called through ctypes, which costs a
    microsecond or two a call."""
    names = (("mpi_latency", "us"), ("mpi_bandwidth", "MB/s"))
    launcher = shutil.which("mpirun") or shutil.which("mpiexec")
    if launcher is None:
        for name, unit in names:
            card.missing(name, unit, "there is no mpirun")
        return
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_mpi_yield_when_idle="1",
                       PRTE_MCA_rmaps_default_mapping_policy=":oversubscribe")  # fmt: skip
    for name in list(environment):  # the two ranks are this node's own affair, not the batch system's
        if name.startswith(("SLURM_", "PMI_", "PMIX_")):
            del environment[name]
    words = [launcher, "-n", "2", sys.executable, os.path.abspath(__file__), "--ping-pong"]
    status, out, err = run(words, timeout=25, env=environment, cwd=where)
    rows = [line.split() for line in out.splitlines() if line.startswith("pingpong ")]
    if status != 0 or len(rows) != len(SIZES):
        for name, unit in names:
            card.missing(name, unit, "mpirun -n 2 failed: %s" % (err or status))
        return
    halves = [[float(x) for x in row[2:]] for row in rows]  # us one way
    note = "two ranks on one node, called through ctypes"
    card.measured(names[0][0], halves[0], "us", note + ", 8 bytes, one way")
    card.measured(names[1][0], [MIB / us for us in halves[1]], "MB/s", note + ", 1 MiB")


def ping_pong():
    """One of the two ranks."""
    found = ctypes.util.find_library("mpi") or next(
        (n for n in ("libmpi.so.40", "libmpi.so.12", "libmpich.so.12", "libmpi.so") if _loads(n)), "")
    if not found:
        raise SystemExit("no MPI library")
    lib = ctypes.CDLL(found, mode=ctypes.RTLD_GLOBAL)
    if hasattr(lib, "ompi_mpi_comm_world"):
        world, byte = ctypes.byref(ctypes.c_char.in_dll(lib, "ompi_mpi_comm_world")), ctypes.byref(ctypes.c_char.in_dll(lib, "ompi_mpi_byte"))
    else:  # MPICH and its kin: handles are numbers
        world, byte = ctypes.c_int(0x44000000), ctypes.c_int(0x4C00010D)
    lib.MPI_Init(None, None)
    rank = ctypes.c_int()
    lib.MPI_Comm_rank(world, ctypes.byref(rank))
    status = ctypes.create_string_buffer(256)
    for size, rounds in SIZES:
        data, times = ctypes.create_string_buffer(size), []
        for _ in range(4):
            began = time.perf_counter()
            for _ in range(rounds):
                for sends in ((0, 1), (1, 0)):
                    if rank.value == sends[0]:
                        lib.MPI_Send(data, size, byte, sends[1], 7, world)
                    else:
                        lib.MPI_Recv(data, size, byte, sends[0], 7, world, status)
            times.append((time.perf_counter() - began) / rounds / 2 * 1e6)
        if rank.value == 0:
            print("pingpong", size, *("%.4f" % t for t in times[1:]), flush=True)
    lib.MPI_Finalize()


def _loads(name):
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


# GPU ----------------------------------------------------------------------------------------------------------------------

_ASKED = (("memory.total", "memory", "MiB"), ("clocks.max.sm", "clock_max", "MHz"), ("clocks.max.memory", "memory_clock_max", "MHz"),
          ("power.limit", "power_limit", "W"))  # fmt: skip


def gpus(card):
    """What the driver says of each."""
    status, out, err = run(["nvidia-smi", "--query-gpu=name," + ",".join(a for a, _, _ in _ASKED), "--format=csv,noheader,nounits"])
    if status != 0:
        card.missing("gpu_count", "", "nvidia-smi is not there" if status == 127 else "nvidia-smi: %s" % (err or status))
        return
    rows = [[x.strip() for x in line.split(",")] for line in out.splitlines() if line.strip()]
    card.put("gpu_count", len(rows), "", note=", ".join(sorted({r[0] for r in rows})))
    for i, row in enumerate(rows):
        for (_, name, unit), text in zip(_ASKED, row[1:]):
            label = "gpu_%d_%s" % (i, name)
            try:
                card.put(label, float(text), unit, note=row[0])
            except ValueError:
                card.missing(label, unit, "the driver says %s" % text)


# --------------------------------------------------------------------------------------------------------------------------


def measure(where):
    """The card, as JSON values. where: a directory to write in."""
    began, card, cpus = time.monotonic(), Card(), cpu_flags()
    with tempfile.TemporaryDirectory(dir=where, prefix="card-") as scratch:
        sizes = caches(card)
        quota(card)
        probes = Probes(scratch, cpus)
        compute(card, probes, cpus)
        memory(card, probes, sizes)
        filesystem(card, scratch)
        mpi(card, scratch)
        gpus(card)
    spent = sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
    return {
        "schema": SCHEMA,
        "host": host(),
        "cpu_s": _round(spent),
        "wall_s": _round(time.monotonic() - began),
        "measured_at_unix": int(time.time()),
        "values": dict(sorted(card.values.items())),
    }


def main(arguments):
    parser = argparse.ArgumentParser(description="Measure the machine this runs on.")
    parser.add_argument("--out", default="-", help="where the JSON goes")
    parser.add_argument("--dir", default=".", help="where files are written for a moment")
    parser.add_argument("--ping-pong", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.ping_pong:
        ping_pong()
        return 0
    text = json.dumps(measure(os.path.abspath(options.dir)), indent=1, sort_keys=True)
    if options.out == "-":
        print(text)
    else:
        with open(options.out, "w") as f:
            f.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
