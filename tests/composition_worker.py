"""Trains combinations in two processes under torchrun, each beside the reference there, and writes what became of them.

    torchrun --nproc_per_node 2 composition_worker.py combinations.json folder
"""
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

import torch
from distributed_worker import broadcast
from fastai.distributed import DistributedDL
from test_composition import outcome

if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    DistributedDL._broadcast = broadcast
    found = []
    for i, names in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        path = Path(sys.argv[2], str(i))                # both processes' own
        path.mkdir(exist_ok=True)
        try: found.append(outcome(names, path, distributed=True))
        except Exception: found.append(traceback.format_exc())
    Path(sys.argv[2], f"{os.environ['RANK']}.json").write_text(json.dumps(found))
