"""sacct, GPU traces and CSV: columns by name, what is unknown stays unknown, what is wrong is named."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces.cells import moment, span
from tidegrid.simulation.traces.formats import read_log, recognise
from tidegrid.simulation.traces.machines import read_machines, read_openb_nodes
from tidegrid.simulation.traces.plain import write_csv
from tidegrid.simulation.traces.sacct import read_sacct

SACCT = """JobID|JobName|User|Account|Partition|QOS|Submit|Start|End|ElapsedRaw|Timelimit|ReqCPUS|AllocCPUS|NNodes|ReqMem|ReqTRES|AllocTRES|State
100|md|ann|chem|cpu|normal|2024-03-01T10:00:00|2024-03-01T10:05:00|2024-03-01T11:05:00|3600|02:00:00|8|8|1|16G|billing=8,cpu=8,mem=16G,node=1|billing=8,cpu=8,mem=16G,node=1|COMPLETED
100.batch|batch||chem|||2024-03-01T10:05:00|2024-03-01T10:05:00|2024-03-01T11:05:00|3600|||8|1|||cpu=8,mem=16G,node=1|COMPLETED
100.0|mdrun||chem|||2024-03-01T10:05:01|2024-03-01T10:05:01|2024-03-01T11:05:00|3599|||8|1|||cpu=8|COMPLETED
101_3|train|bob|ml|gpu|high|2024-03-01T10:01:00|2024-03-01T10:01:00|2024-03-01T10:31:00|1800|1-00:00:00|4|4|2|2Gc|cpu=4,gres/gpu:a100=2,gres/gpu=2,node=2|cpu=4,gres/gpu:a100=2,gres/gpu=2,node=2|TIMEOUT
101_[4-6%1]|train|bob|ml|gpu|high|2024-03-01T10:01:00|Unknown|Unknown|0|UNLIMITED|4|0|2|2Gn|cpu=4,gres/gpu:a100=2||PENDING
102|x|ann|chem|cpu|normal|2024-03-01T10:02:00|None|2024-03-01T10:03:00|0|Partition_Limit|16|0|1|0|cpu=16||CANCELLED by 1001
103+1|het|ann|chem|cpu|normal|2024-03-01T10:04:00|2024-03-01T10:04:00|Unknown|77|05:00|2|2|1|512M|||RUNNING
"""


def test_sacct_rows_become_jobs_and_steps_do_not():
    trace = read_sacct(SACCT.encode())
    assert trace.job.tolist() == [100, 101, 101, 101, 101, 102, 103]
    assert trace.submit.tolist() == [0, 60, 60, 60, 60, 120, 240] and trace.header.start == moment("2024-03-01T10:00:00")
    assert trace.wait.tolist() == [300, 0, -1, -1, -1, -1, 0]
    assert trace.run.tolist() == [3600, 1800, -1, -1, -1, -1, -1]
    assert trace.estimate.tolist() == [7200, 86400, -1, -1, -1, -1, 300]
    assert trace.processors.tolist() == [8, 4, 4, 4, 4, 16, 2]
    assert trace.gpus.tolist() == [0, 2, 2, 2, 2, 0, -1] and trace.labels["gpu_type"] == {0: "a100"}
    assert trace.memory.tolist() == [2 << 20, 2 << 20, 1 << 20, 1 << 20, 1 << 20, -1, 256 << 10]
    assert trace.status.tolist() == [1, 0, -1, -1, -1, 5, -1]
    assert trace.labels["user"] == {0: "ann", 1: "bob"} and trace.labels["partition"] == {0: "cpu", 1: "gpu"}


def test_sacct_with_other_columns_and_unix_times():
    text = "JobIDRaw|JobID|Submit|Start|End|NCPUS|Elapsed\n7|7|1700000000|1700000010|1700000020|2|00:00:10\n8|8|1699999999|1700000010|1700090020|2|1-01:00:10\n"
    trace = read_log(text.encode())
    assert trace.submit.tolist() == [1, 0] and trace.run.tolist() == [10, 90010] and trace.processors.tolist() == [2, 2]


@pytest.mark.parametrize(("old", "new", "code", "line"), [
    ("2024-03-01T10:01:00|2024-03-01T10:01:00", "2024-13-01T10:01:00|2024-03-01T10:01:00", "number", 5),
    ("|3600|02:00:00", "|-3600|02:00:00", "negative", 2),
    ("|3600|02:00:00", "|NaN|02:00:00", "number", 2),
    ("|3600|02:00:00", "|3600|2 hours", "number", 2),
    ("2024-03-01T10:05:00|2024-03-01T11:05:00|3600|02", "2024-03-01T09:05:00|2024-03-01T11:05:00|3600|02", "negative", 2),
    ("md|ann", "md|extra|ann", "columns", 2),
])  # fmt: skip
def test_a_bad_sacct_row_is_refused_with_its_line_and_mended_when_asked(old, new, code, line):
    bad = SACCT.replace(old, new, 1).encode()
    assert bad != SACCT.encode()
    with pytest.raises(InvalidInput) as caught:
        read_sacct(bad)
    assert caught.value.code == f"trace.{code}" and caught.value.details["line"] == line
    assert read_sacct(bad, repair=True).repairs[code] >= 1


def test_sacct_without_a_needed_column_says_which():
    with pytest.raises(InvalidInput, match="Submit"):
        read_sacct(b"JobID|Elapsed\n1|00:10:00\n")
    with pytest.raises(InvalidInput, match="ReqCPUS"):
        read_sacct(b"JobID|Submit|Elapsed\n1|5|00:10:00\n")


@pytest.mark.parametrize(("text", "seconds"), [("00:10", 10), ("01:00:00", 3600), ("2-03:00:01", 183601), ("1-12", 129600), ("00:00:07.250", 7)])
def test_slurm_durations(text, seconds):
    assert span(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "1:2:3:4", "a:b", "x-01:00:00", "-5:00"])
def test_what_is_no_slurm_duration(text):
    with pytest.raises(ValueError):
        span(text)


PHILLY = b"timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,11cb48\n2017-10-09 06:13:03,2951.0,8,23608.0,6214e9\n"
OPENB = (b"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
         b"p0,12500,16384,1,460,V100M16|V100M32,LS,Succeeded,10,500,20\np1,6000,12288,0,0,,BE,Pending,30,90,\n")  # fmt: skip


def test_philly_is_read():
    trace = read_log(gzip.compress(PHILLY))
    assert trace.submit.tolist() == [2932, 0] and trace.gpus.tolist() == [1, 8] and trace.processors.tolist() == [1, 8]
    assert trace.labels["partition"] == {0: "11cb48", 1: "6214e9"}


def test_openb_is_read():
    trace = read_log(OPENB)
    assert trace.run.tolist() == [480, -1] and trace.wait.tolist() == [10, -1] and trace.processors.tolist() == [13, 6]
    assert trace.gpu_milli.tolist() == [460, 0] and trace.labels["gpu_type"] == {0: "V100M16|V100M32"} and trace.status.tolist() == [1, -1]


@pytest.mark.parametrize("bad", [PHILLY.replace(b"2951.0", b"nan"), PHILLY.replace(b"2951.0", b"-2951"), PHILLY[:-12], PHILLY + b"2017-99-01 00:00:00,1,1,1,x\n"])
def test_bad_gpu_traces_name_the_line(bad):
    with pytest.raises(InvalidInput) as caught:
        read_log(bad)
    assert caught.value.details["line"] in (3, 4)
    mended = read_log(bad, repair=True)
    assert len(mended) < 3 and sum(mended.repairs.values()) == 1


def test_csv_of_ours_reads_back_with_names():
    trace = read_sacct(SACCT.encode())
    again = read_log(write_csv(trace))
    assert again.user.tolist() == trace.user.tolist() and again.labels["user"] == trace.labels["user"]
    assert again.run.tolist() == trace.run.tolist() and again.gpus.tolist() == trace.gpus.tolist()


def test_csv_of_a_user_needs_three_columns_and_takes_dates():
    trace = read_log(b"submit,run,processors,user\n2026-01-01T00:00:10,60,4,ann\n2026-01-01T00:00:00,30,2,bob\n")
    assert trace.submit.tolist() == [10, 0] and trace.processors.tolist() == [4, 2] and trace.labels["user"] == {0: "ann", 1: "bob"}
    with pytest.raises(InvalidInput, match="requested, allocated or processors"):
        read_log(b"submit,run,user,x\n1,2,3,4\n")


@pytest.mark.parametrize(("data", "form"), [
    (SACCT.encode(), "sacct"), (PHILLY, "philly"), (OPENB, "openb"), (b"; x\n1 2", "swf"), (b"job_id,num_gpu,submit_time,duration\n", "tiresias"),
    (b"\xef\xbb\xbfsubmit,run,requested\n", "csv"), (b"1,2,3,4,5\n", "swf"), (b"", "swf"),
])  # fmt: skip
def test_the_format_is_recognised(data, form):
    assert recognise(data) == recognise(gzip.compress(data)) == form


def test_machines_are_read_and_bad_ones_named():
    groups = read_machines(b"0\tzewura\t20\t80\t1\t529426432\n1\tzegox\t48\t12\t1\t94035968\n")
    assert [(g.name, g.nodes, g.processors, g.memory_mib) for g in groups] == [("zewura", 20, 80, 517018), ("zegox", 48, 12, 91832)]
    with pytest.raises(InvalidInput) as caught:
        read_machines(b"0 a 2 8 1 100\n1 b x 8 1 100\n")
    assert caught.value.code == "trace.machines" and caught.value.details["line"] == 2
    nodes = read_openb_nodes(b"sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\nb,64000,262144,2,P100\nc,96000,1024,0,\n")
    assert [(g.nodes, g.processors, g.gpus, g.gpu_type) for g in nodes] == [(2, 64, 2, "P100"), (1, 96, 0, "")]


TRACES = os.environ.get("TIDEGRID_TRACES")


@pytest.mark.skipif(not TRACES, reason="TIDEGRID_TRACES names no directory of logs")
def test_published_gpu_traces_are_read():
    gpu = Path(TRACES) / "gpu"
    philly = read_log((gpu / "philly_before_2017-11.csv.gz").read_bytes())
    openb = read_log((gpu / "openb_pod_list_default.csv.gz").read_bytes())
    nodes = read_openb_nodes((gpu / "openb_node_list_all_node.csv").read_bytes())
    assert (len(philly), int(philly.gpus.sum()), len(philly.labels["partition"])) == (52849, 63436, 12)
    assert len(openb) == 8152 and int((openb.run >= 0).sum()) == 7255
    assert sum(g.nodes * g.gpus for g in nodes) == 6212 and sum(g.nodes for g in nodes if g.gpus) == 1213
    assert len(read_log((gpu / "tiresias_60_job.csv").read_bytes())) == 60
