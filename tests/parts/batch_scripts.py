"""Batch scripts as people write them for real sites, and what of each must come out: fields of the submission, words that remarks
must hold, or words of the refusal. Written for these tests; no site's own script is copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """wanted: dotted fields of the submission; remarks, refused: (line, words) that must be told."""

    name: str
    text: str
    wanted: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[tuple[int, str], ...] = ()
    refused: tuple[tuple[int, str], ...] = ()
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


CASES = [
    Case("vasp", """#!/bin/bash
#SBATCH -J vasp-relax
#SBATCH -p normal
#SBATCH -N 2
#SBATCH --ntasks-per-node=32
#SBATCH -t 24:00:00
#SBATCH --mem=0
#SBATCH -o %x.%j.out
#SBATCH -e %x.%j.err
module load vasp/6.4.2 intel-mpi
ulimit -s unlimited
srun vasp_std
""", {"name": "vasp-relax", "resources.nodes": 2, "resources.ranks": 32, "resources.cores": 32, "resources.wall_s": 86400,
      "resources.memory_mib": 191_488, "params.output": "vasp-relax.%j.out", "params.error": "vasp-relax.%j.err", "params.tasks": 64,
      "params.tasks_per_node": 32}, ((3, "placed by what it needs"), (7, "191488 MiB"), (10, "module load"))),
    Case("gromacs", """#!/bin/bash -l
#SBATCH --job-name=npt
#SBATCH --nodes=1
#SBATCH --ntasks=4 --cpus-per-task=8   # two options on a line, and a comment
#SBATCH --gres=gpu:a100:4
#SBATCH --time=0-12
#SBATCH --mem-per-cpu=2G
#SBATCH --hint=nomultithread
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
srun gmx_mpi mdrun -deffnm npt
""", {"resources.cores": 32, "resources.ranks": 4, "resources.gpus": 4, "resources.gpu_type": "a100", "resources.wall_s": 43200,
      "resources.memory_mib": 65536, "params.cpus_per_task": 8, "params.mem_per_cpu": 2048}, ((8, "tunes a site's nodes"),)),
    Case("pytorch ddp", """#!/bin/bash
#SBATCH --job-name="ddp train"
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --exclusive
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --output=logs/%x-%j.out
#SBATCH --open-mode=append
#SBATCH --mail-type=END,FAIL
#SBATCH --mail-user=someone@example.org
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes 4 --nproc_per_node 4 --rdzv_endpoint "$head_node:29500" train.py
""", {"name": "ddp train", "resources.nodes": 4, "resources.gpus": 4, "resources.cores": 32, "resources.exclusive": True,
      "resources.wall_s": 172_800, "restartable": True, "params.signal": {"name": "USR1", "after_s": 172_500, "batch": True},
      "params.output": "logs/ddp train-%j.out", "resources.memory_mib": 515_072},
      ((12, "sbatch itself"), (13, "no mail"), (14, "no mail"))),
    Case("array with throttle", """#!/bin/bash
#SBATCH --array=0-199%20
#SBATCH -c 2
#SBATCH --mem=4000
#SBATCH -t 90
#SBATCH -o out/%A_%4a.txt
python sweep.py --index $SLURM_ARRAY_TASK_ID
""", {"array": "0-199%20", "resources.cores": 2, "resources.memory_mib": 4000, "resources.wall_s": 5400,
      "params.output": "out/%A_%4a.txt", "params.array": {"count": 200, "min": 0, "max": 199, "step": 1}}),
    Case("array with a step and a list", "#!/bin/bash\n#SBATCH -a 1,3,5-15:5\n#SBATCH -t 10:30 --mem 500M\ntrue\n",
         {"array": "1,3,5,10,15", "resources.wall_s": 630, "params.array": {"count": 5, "min": 1, "max": 15, "step": 2},
          "params.output": "slurm-%A_%a.out"}),
    Case("R", """#!/usr/bin/env Rscript
#SBATCH --job-name r-boot
#SBATCH --mem 8G
#SBATCH --time 1:30:00
#SBATCH --cpus-per-task 4
library(parallel)
cat(detectCores(), "\\n")
""", {"name": "r-boot", "resources.cores": 4, "resources.memory_mib": 8192, "resources.wall_s": 5400}),
    Case("matlab", """#!/bin/sh
#SBATCH -n 1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64gb
#SBATCH --time=1-12:30
#SBATCH --licenses=matlab@slurmdb:1
matlab -batch "run('main.m')"
""", refused=((6, "licenses"),)),
    Case("matlab, without the licence", "#!/bin/sh\n#SBATCH -c16 --mem=64G -t1-12:30\n#SBATCH -L matlab:1\nmatlab -batch main\n",
         {"resources.cores": 16, "resources.memory_mib": 65536, "resources.wall_s": 131_400}, ((3, "as wished"),),
         options=("--ignore-licenses",)),
    Case("spack site", """#!/bin/bash
#SBATCH -A cfd
#SBATCH --qos=high
#SBATCH -p cpu,gpu
#SBATCH -n 64
#SBATCH -t 04:00:00
. /opt/spack/share/spack/setup-env.sh
spack load openfoam@2312
mpirun -np $SLURM_NTASKS simpleFoam -parallel
""", {"project": "cfd", "site": {"qos": "high"}, "constraints.any_of": ["east/cpu", "north/cpu", "north/gpu"],
      "resources.nodes": 1, "resources.ranks": 64}, ((4, "east/cpu, north/cpu, north/gpu"), (8, "spack load"))),
    Case("中文注释", """#!/bin/bash
# 提交到国产处理器分区
#SBATCH --job-name=气象模拟   # 作业名
#SBATCH --ntasks=8            # 进程数
#SBATCH --time=02:00:00       # 最长两小时
#SBATCH --mem-per-cpu=3900M
echo "开始计算"
""", {"name": "气象模拟", "resources.ranks": 8, "resources.cores": 8, "resources.wall_s": 7200, "resources.memory_mib": 31_200}),
    Case("DOS line ends", "#!/bin/bash\r\n#SBATCH -J dos\r\n#SBATCH -t 5\r\n#SBATCH --mem=1G\r\necho hi\r\n",
         {"name": "dos", "resources.wall_s": 300, "params.script": "#!/bin/bash\n#SBATCH -J dos\n#SBATCH -t 5\n#SBATCH --mem=1G\necho hi\n"},
         ((1, "DOS line ends"),)),
    Case("directives after the first command", """#!/bin/bash
#SBATCH -J early

# a comment, then a blank line
#SBATCH -t 20
set -e
#SBATCH -t 99:00:00
#SBATCH --mem=900G
true
""", {"name": "early", "resources.wall_s": 1200}, ((7, "after the first command"), (8, "after the first command"))),
    Case("directives that are commented out", "#!/bin/bash\n##SBATCH -N 64\n# SBATCH --mem=900G\n #SBATCH -n 99\n#SBATCH -N 1\ntrue\n",
         {"resources.nodes": 1, "resources.ranks": 1}),
    Case("the later directive wins", "#!/bin/bash\n#SBATCH -t 10\n#SBATCH --time=20\n#SBATCH --mem=1G\n#SBATCH --mem=2G\ntrue\n",
         {"resources.wall_s": 1200, "resources.memory_mib": 2048}),
    Case("command line over environment over script", "#!/bin/bash\n#SBATCH -t 10\n#SBATCH -J inside\n#SBATCH --mem=1G\n#SBATCH -c 2\ntrue\n",
         {"resources.wall_s": 1800, "name": "outside", "resources.memory_mib": 3072, "resources.cores": 2},
         options=("-t", "30", "--mem=3G"), environment={"SBATCH_TIMELIMIT": "20", "SBATCH_JOB_NAME": "outside", "SBATCH_MEM_PER_NODE": "2G"}),
    Case("a dependency on a job here", "#!/bin/bash\n#SBATCH -d afterok:job-0000000000001:job-0000000000002,afterany:JOB-0000000000003\ntrue\n",
         {"after_ok": ["job-0000000000001", "job-0000000000002"], "after_any": ["job-0000000000003"]}),
    Case("a dependency on a job of Slurm's", "#!/bin/bash\n#SBATCH --dependency=afterok:123456\ntrue\n", refused=((2, "job-…"),)),
    Case("other dependencies", "#!/bin/bash\n#SBATCH --dependency=singleton\ntrue\n", refused=((2, "only afterok and afterany"),)),
    Case("heterogeneous", "#!/bin/bash\n#SBATCH -n 1 --mem=4G\n#SBATCH hetjob\n#SBATCH -n 64\ntrue\n",
         refused=((3, "several unlike parts"),)),
    Case("nodes of one site", "#!/bin/bash\n#SBATCH -w node[01-04]\n#SBATCH --reservation=maint\n#SBATCH -x node05\ntrue\n",
         refused=((2, "nodelist"), (3, "reservation"))),
    Case("a burst buffer and a licence", "#!/bin/bash\n#SBATCH --bb='capacity=100GB access=striped'\n#SBATCH -L ansys:4\n#SBATCH --tmp=200G\ntrue\n",
         refused=((2, "bb"), (3, "licenses"), (4, "tmp"))),
    Case("a slip", "#!/bin/bash\n#SBATCH --nodse=4\n#SBATCH --time=abc\n#SBATCH --mem=lots\n#SBATCH -N\ntrue\n",
         refused=((2, "--nodse is no option"), (3, "'abc' is no time"), (4, "'lots' is no amount"), (5, "-N needs a value"))),
    Case("an open quote", "#!/bin/bash\n#SBATCH --job-name=\"my job\n#SBATCH -t 5\ntrue\n", refused=((2, "is not closed"),)),
    Case("a stray word", "#!/bin/bash\n#SBATCH --nodes 2 tasks\ntrue\n", refused=((2, "'tasks' is no option"),)),
    Case("cut short and put together", "#!/bin/bash\n#SBATCH --ntasks-per-n=4 --cpus-per-t=2 --export=NONE\n#SBATCH -HN2 -t5\ntrue\n",
         {"resources.ranks": 4, "resources.cores": 8, "resources.nodes": 2, "held": True, "resources.wall_s": 300,
          "params.export_none": True}),
    Case("ambiguous", "#!/bin/bash\n#SBATCH --mem-=4\n#SBATCH --ntasks-per=2\ntrue\n",
         refused=((2, "--mem-bind"), (3, "--ntasks-per-"))),
    Case("no time limit", "#!/bin/bash\n#SBATCH --time=UNLIMITED\ntrue\n", refused=((2, "needs a wall time"),)),
    Case("two kinds of memory", "#!/bin/bash\n#SBATCH --mem=4G\n#SBATCH --mem-per-cpu=1G\ntrue\n", refused=((3, "exclude each other"),)),
    Case("memory of the command line wins", "#!/bin/bash\n#SBATCH --mem=4G -c 4\ntrue\n", {"resources.memory_mib": 8192},
         options=("--mem-per-cpu=2G",)),
    Case("tasks that do not come out even", "#!/bin/bash\n#SBATCH -N 2 -n 5\ntrue\n", refused=((2, "evenly"),)),
    Case("tasks without nodes", "#!/bin/bash\n#SBATCH -n 256\n#SBATCH --mem-per-cpu=1G\n#SBATCH -t 60\nmpirun ./solver\n",
         {"resources.nodes": 2, "resources.ranks": 128, "resources.cores": 128, "params.tasks": 256}, ((0, "2 nodes with 128 tasks each"),)),
    Case("tasks and tasks a node", "#!/bin/bash\n#SBATCH -n 48 --ntasks-per-node=16\ntrue\n", {"resources.nodes": 3, "resources.ranks": 16}),
    Case("a span of nodes", "#!/bin/bash\n#SBATCH --nodes=2-4\n#SBATCH --ntasks=6\ntrue\n", {"resources.nodes": 2, "resources.ranks": 3},
         ((2, "2 of 2 to 4 nodes"),)),
    Case("GPUs all together", "#!/bin/bash\n#SBATCH -G v100:8\n#SBATCH -N 2\n#SBATCH --cpus-per-gpu=4\n#SBATCH --mem-per-gpu=20G\ntrue\n",
         {"resources.gpus": 4, "resources.gpu_type": "v100", "resources.cores": 16, "resources.memory_mib": 81_920}),
    Case("a GPU a task", "#!/bin/bash\n#SBATCH --ntasks=4\n#SBATCH --gpus-per-task=1 --gpu-bind=closest\ntrue\n",
         {"resources.gpus": 4, "resources.ranks": 4, "resources.nodes": 1}, ((3, "tunes"),)),
    Case("other generic resources", "#!/bin/bash\n#SBATCH --gres=gpu:1,nvme:100,craynetwork:0\ntrue\n", refused=((2, "nvme:100"),)),
    Case("names that lie elsewhere", """#!/bin/bash
#SBATCH -o /home/me/logs/%j.log
#SBATCH -e /dev/null
#SBATCH -D /scratch/me/run
#SBATCH --get-user-env=L
#SBATCH --nice=100
cd $SLURM_SUBMIT_DIR
""", {"params.output": "%j.log"}, ((2, "%j.log among its results"), (4, "a directory of its own"), (5, "submitter's own machine"), (6, "priority"))),
    Case("begin and hold", "#!/bin/bash\n#SBATCH --begin=2033-05-18T06:00:00\n#SBATCH --hold --no-requeue\ntrue\n", {"held": True}),
    Case("exports", "#!/bin/bash\n#SBATCH --export=\"ALL,MODE=fast,NAMES='a,b',HOME_DIR,NOT_THERE\"\ntrue\n",
         {"env": {"MODE": "fast", "NAMES": "a,b", "HOME_DIR": "/home/me"}}, ((2, "NOT_THERE is not set"), (2, "are not carried"))),
    Case("a feature", "#!/bin/bash\n#SBATCH -C 'icelake|rome'\n#SBATCH -q long\ntrue\n", {"site": {"features": "icelake|rome"}},
         ((2, "only a site that knows"), (3, "belongs to a site"))),
    Case("another signal, to what it started", "#!/bin/bash\n#SBATCH -t 10 --signal=SIGTERM@60\ntrue\n",
         {"params.signal": {"name": "TERM", "after_s": 540, "batch": False}}),
    Case("no interpreter", "#SBATCH -N 1\necho hi\n", refused=((0, "does not name an interpreter"),)),
    Case("LSF or PBS", "#!/bin/bash\n#PBS -l nodes=2:ppn=8\n#BSUB -n 4\n#SBATCH -n 2\ntrue\n", {"resources.ranks": 2}),
    Case("wrap", "", {"params.script": "#!/bin/sh\n# --wrap\nhostname; date\n", "name": "wrap"}, options=("--wrap=hostname; date",)),
]  # fmt: skip

# Scripts that really run.
PLAIN = """#!/bin/bash
#SBATCH -J hello
#SBATCH --ntasks=2 --cpus-per-task=2
#SBATCH --time=1 --mem=64M
#SBATCH -o logs/%x-%j.out
[ "$SLURM_SUBMIT_DIR" = "$PWD" ] && [ "$SLURM_JOB_ID" -gt 0 ] || exit 9
echo "$SLURM_JOB_NAME $SLURM_NTASKS $SLURM_CPUS_PER_TASK $SLURM_CPUS_ON_NODE $SLURM_NNODES $1"
echo to stderr >&2
srun sh -c 'echo rank' | wc -l
tr a-z A-Z <data/in.txt >upper.txt
"""
ARRAY = """#!/bin/bash
#SBATCH --array=3-7:2
#SBATCH --time=1 --mem=64M
#SBATCH -o o_%3a.txt
echo $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MAX
"""
WARNED = """#!/bin/bash
#SBATCH --time=1 --mem=64M --signal=B:TERM@58
trap 'echo saved; exit 5' TERM
sleep 30 & wait
"""
WARNED_BELOW = """#!/bin/bash
#SBATCH --time=1 --mem=64M --signal=USR2@58
bash -c "trap 'exit 6' USR2; sleep 30 & wait"
echo went on after $?
"""
