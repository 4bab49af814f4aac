"Trains, and is killed; see test_checkpoint.py. Arguments: folder, step after which to die (0: never), how."
import io
import os
import signal
import sys
import warnings
from pathlib import Path

import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle`
from fastai.callback.core import Callback
from fastai.torch_core import set_seed

from fastai_recipes.all import EMA, SAM, Checkpoint
from fastai_recipes.testing import copied, digits_learner, quiet


def die(): os.kill(os.getpid(), signal.SIGKILL)


class Kill(Callback):
    "SIGKILL in the middle of a batch"
    order = 70
    def __init__(self, at): self.at = at
    def before_step(self):
        if self.train_iter == self.at: die()


def half_written(at):
    "SIGKILL in the middle of the `at`-th write"
    save, n = torch.save, [0]
    def torch_save(state, f):
        n[0] += 1
        if n[0] < at: return save(state, f)
        whole = io.BytesIO()
        save(state, whole)
        f.write(whole.getvalue()[:len(whole.getvalue())//2])
        f.flush()
        die()
    torch.save = torch_save


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    folder, at, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    set_seed(5)
    every = sys.argv[4] if sys.argv[4] == 'epoch' else int(sys.argv[4])
    learn = digits_learner(path=folder, dropout=.2, cbs=[SAM(), EMA(.95), Checkpoint(every=every)])
    if how == 'write': half_written(at)
    elif at: learn.add_cb(Kill(at))
    set_seed(int.from_bytes(os.urandom(3), 'big') if how == 'resumed' else 6)     # what a resumed process draws must not matter
    if how != 'resumed':
        for dl in learn.dls.loaders: dl.rng.seed(1)
    learn.resume(missing_ok=True)
    with quiet(learn): learn.fit_one_cycle(3, 1e-2)
    torch.save(dict(model=copied(learn.model), average=learn.ema.average, losses=[float(o) for o in learn.recorder.losses],
                    lrs=[float(o) for o in learn.recorder.lrs],
                    values=[[float(o) for o in v] for v in learn.recorder.values]), folder/'end.pt')
