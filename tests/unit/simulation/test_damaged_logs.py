"""Whatever is done to a log, a reader either reads it or refuses it with a code of its own: nothing else comes out."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegrid.domain.errors import InvalidInput
from tidegrid.simulation.traces import convention_k, lublin, write_swf
from tidegrid.simulation.traces.bytesin import CODES
from tidegrid.simulation.traces.formats import FORMATS, read_log
from tidegrid.simulation.traces.info import describe

SWF = write_swf(lublin.generate(np.random.default_rng(1), 30, 16, 0.8))
LOGS = {
    "swf": SWF,
    "sacct": b"JobID|Submit|Start|End|Timelimit|ReqCPUS|ReqMem|ReqTRES|State\n1|2024-03-01T10:00:00|2024-03-01T10:05:00|2024-03-01T11:05:00|02:00:00|8|4Gn|cpu=8,gres/gpu:a100=2|COMPLETED\n2_[1-3%1]|2024-03-01T10:00:00|Unknown|Unknown|UNLIMITED|1|0||PENDING\n",
    "philly": b"timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,11cb48\n",
    "openb": b"name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np0,12500,16384,1,460,V100,LS,Succeeded,10,500,20\n",
    "tiresias": b"job_id,num_gpu,submit_time,iterations,model_name,duration,interval\n0,1,0,606,vgg19,164,30\n",
    "csv": b"submit,run,processors,user\n2026-01-01T00:00:10,60,4,ann\n0,30,2,bob\n",
}
PIECES = [b"", b"\0", b"\n", b"\r", b" ", b"|", b",", b'"', b";", b"-", b"NaN", b"inf", b"1e999", b"-1", b"99999999999999999999", b"\xff\xfe", "九".encode(), b"0x10", b".", b"%", b"[1-9"]


def test_every_format_has_a_log_here():
    assert set(LOGS) == set(FORMATS)


@pytest.mark.parametrize("form", LOGS)
@settings(max_examples=70, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_log_is_read_or_refused(form, data):
    text = LOGS[form]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(PIECES)) + text[at + gone :]
    if data.draw(st.booleans()):
        text = gzip.compress(text, mtime=0)
        text = text[: data.draw(st.integers(len(text) // 2, len(text)))]
    for repair in (False, True):
        try:
            trace = read_log(text, form=form, repair=repair)
        except InvalidInput as error:
            assert error.code.removeprefix("trace.") in CODES and error.message
            continue
        assert len(trace) and (trace.submit >= 0).all() and (trace.run >= -1).all() and (trace.wait >= -1).all()
        k = convention_k(trace)
        assert (k.run >= 0).all() and (k.processors > 0).all() and (np.diff(k.submit) >= 0).all()
        describe(trace)
