"Trains in two processes under torchrun; each rank writes what it ended with. See test_distributed.py."
import os
import sys
import warnings
from copy import deepcopy
from functools import partial

import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle`
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.training import GradientAccumulation
from fastai.distributed import DistributedDL
from fastai.optimizer import SGD
from fastai.torch_core import rank_distrib, set_seed
from torch import nn

from fastai_recipes.all import (AWP, EMA, SAM, SWA, BatchLossFilter, Checkpoint, Rollback, SkipNonFinite,
                                WeightedSampling)
from fastai_recipes.testing import copied, exact_learner, quiet, toy_dls

EPOCHS, LR, N, BS = 2, .1, 48, 6                     # BS in each process
SETUPS = {'sam': lambda: [SAM(.2)], 'sam bn': lambda: [SAM(.2)], 'sam local': lambda: [SAM(.2, local=True)],
          'sam every': lambda: [SAM(.2, every=2, local=True)],
          'sam accumulated': lambda: [SAM(.2), GradientAccumulation(2*BS)],
          'sam local accumulated': lambda: [SAM(.2, local=True), GradientAccumulation(2*BS)],
          'awp': lambda: [AWP(.1, .1)], 'ema': lambda: [EMA(.9)], 'sam ema': lambda: [SAM(.2), EMA(.9)], 'swa': lambda: [SWA(start=0.)],
          'filter': lambda: [BatchLossFilter(.5)], 'filter mask': lambda: [BatchLossFilter(.5, mode='mask')],
          'weighted': lambda: [WeightedSampling(torch.arange(1., N + 1), n=100*N, seed=rank_distrib()), SeeInputs()],
          'skip': lambda: [SkipNonFinite(), OneRank(), EMA(.9, keep='last')]}


class OneRank(Callback):
    "One process' loss is not finite in the second and the fifth batch"
    order, run_valid = MixedPrecision.order + .1, False
    n = 0
    def after_backward(self):
        self.n += 1
        if self.n in (2, 5) and rank_distrib() == 1: self.learn.loss = self.loss*float('nan')


class Rises(Callback):
    "One process' loss is thirty times as large for a while"
    run_valid = False
    def after_loss(self):
        if 20 <= self.train_iter < 32 and rank_distrib() == 1: self.learn.loss_grad = self.learn.loss = self.loss*30


class SeeInputs(Callback):
    "Keeps the first number of each item that is trained on"
    run_valid = False
    def before_fit(self): self.seen = []
    def after_batch(self): self.seen.append(self.x[:, 0].clone())


class Interrupt(Callback):
    def before_batch(self):
        if self.training and self.epoch == 1 and self.iter == 3: raise KeyboardInterrupt


def data():
    gen = torch.Generator().manual_seed(0)
    return torch.randn(N, 6, generator=gen, dtype=torch.float64), torch.randint(0, 3, (N,), generator=gen)


def model(bn=False):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8) if bn else nn.Identity(), nn.Tanh(), nn.Linear(8, 3)).double()


def broadcast(self, t, rank):
    "fastai's, without `.cuda()`"
    t = torch.tensor(t)
    torch.distributed.broadcast(t, rank)
    return t.tolist()


def train(name):
    learn = exact_learner(model(bn=name in ('swa', 'sam bn')), toy_dls(*data(), bs=BS), opt_func=partial(SGD, mom=.9), cbs=SETUPS[name]())
    with quiet(learn), learn.distrib_ctx(sync_bn=False, cpu=True): learn.fit(EPOCHS, LR)
    found = dict(model=copied(learn.model), valid=learn.recorder.values[-1][1])
    if hasattr(learn, 'ema'): found['average'] = learn.ema.average
    if hasattr(learn, 'see_inputs'): found['seen'] = torch.cat(learn.see_inputs.seen)
    if hasattr(learn, 'skip_non_finite'): found['skipped'] = learn.skip_non_finite.log.batch.tolist(), learn.ema.n_steps
    return found


def rolled_back():
    "What `Rollback` did, and the weights"
    x, y = (torch.cat([o]*4) for o in data())
    learn = exact_learner(model(), toy_dls(x, y, bs=BS), opt_func=partial(SGD, mom=.9), cbs=[Rollback(every=5), Rises()])
    with quiet(learn), learn.distrib_ctx(sync_bn=False, cpu=True): learn.fit(4, .02)
    return learn.rollback.log[['epoch', 'batch', 'event', 'why', 'back_to_step']].values.tolist(), copied(learn.model)


def resumed(folder):
    "A run never interrupted, and one that was and is resumed by a new Learner"
    def learner(*cbs):
        return exact_learner(model(), toy_dls(*data(), bs=BS, shuffle=True), opt_func=partial(SGD, mom=.9), path=folder,
                             cbs=[SAM(.2), EMA(.9), Checkpoint(every=3), *cbs])
    models = []
    for cbs, resume in ([], False), ([Interrupt()], False), ([], True):
        set_seed(7 + rank_distrib())
        learn = learner(*cbs)
        if resume: learn.resume()
        with quiet(learn), learn.distrib_ctx(sync_bn=False, cpu=True):
            try: learn.fit_one_cycle(3, LR)
            except KeyboardInterrupt: pass
        models.append(copied(learn.model))
    return dict(whole=models[0], again=models[2])


class Limited(nn.Module):
    "Has memory for fewer samples in the second process"
    def __init__(self): super().__init__(); self.limit = (33, 20)[rank_distrib()]
    def forward(self, x):
        if len(x) > self.limit: raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        return x


def largest():
    "What `max_bs` gives, with guards that talk to the other process"
    learn = exact_learner(nn.Sequential(Limited(), model()), toy_dls(*data(), bs=BS), cbs=[SkipNonFinite(), SAM(.2)])
    with quiet(learn), learn.distrib_ctx(sync_bn=False, cpu=True): return learn.max_bs(margin=0, limit=40)


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    DistributedDL._broadcast = broadcast
    found = {name: deepcopy(train(name)) for name in SETUPS}
    found['resumed'], found['max_bs'], found['rolled back'] = resumed(sys.argv[1]), largest(), rolled_back()
    torch.save(found, f"{sys.argv[1]}/{os.environ['RANK']}.pt")
