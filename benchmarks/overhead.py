"""What the callbacks cost: a training step with and without them, an average's update beside timm's, an epoch's draw beside fastai's.

timm's resnet18 at 64 px, batch 32. All setups take turns in one process, so that a busy machine slows all of them;
each ratio is the median over rounds of (setup / plain in the same round). Writes overhead.csv beside this file.
"""
import argparse, tempfile, time
from pathlib import Path

import fastai.callback.progress  # noqa: F401  gives Learner `no_bar`
import numpy as np
import pandas as pd
import timm
import torch
from fastai.callback.core import Callback
from fastai.callback.data import WeightedDL
from fastai.data.core import DataLoaders, TfmdDL
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import SGD
from fastai.torch_core import set_seed

from fastai_recipes.all import AWP, EMA, SAM, SWA, BatchLossFilter, Checkpoint, Rollback, SkipNonFinite
from fastai_recipes.testing import quiet, toy_dls

SETUPS = {'plain': [], 'SAM()': [SAM], 'SAM(every=2)': [lambda: SAM(every=2)], 'AWP()': [AWP], 'EMA()': [EMA],
          'SWA(every=1)': [lambda: SWA(start=0., every=1, validate=False, keep='last')], 'SAM() + EMA()': [SAM, EMA],
          'SkipNonFinite()': [SkipNonFinite]}
FILTERS = {'plain': [], 'BatchLossFilter(0.5)': [lambda: BatchLossFilter(.5)], 'BatchLossFilter(0.3)': [lambda: BatchLossFilter(.3)],
           "BatchLossFilter(0.5, mode='mask')": [lambda: BatchLossFilter(.5, mode='mask')]}
LONG = {'plain': [], 'Rollback(every=50)': [lambda: Rollback(every=50)], 'Checkpoint(), epochs of 50 steps': [Checkpoint]}
BS = 32
# setups, steps in an epoch, pixels
GROUPS = {'steps': (SETUPS, 10, 64), 'filters': (FILTERS, 10, 64), 'filters, 128 px': (FILTERS, 4, 128),
          'long epochs': (LONG, 50, 64), 'updates': None, 'draws': None}


class TrainTime(Callback):
    "Seconds of an epoch's training, and of what runs after the optimizer's step"
    order = -20
    def before_train(self): self.began = time.perf_counter()
    def after_train(self): self.seconds = time.perf_counter() - self.began


def learner(cbs, n=10, size=64):
    set_seed(0)
    x, y = torch.randn(n*BS, 3, size, size), torch.randint(0, 10, (n*BS,))
    dls = toy_dls(x, y, valid=(x[:2], y[:2]), bs=BS)
    return Learner(dls, timm.create_model('resnet18', num_classes=10), loss_func=CrossEntropyLossFlat(), opt_func=SGD,
                   path=tempfile.gettempdir(), cbs=[cb() for cb in cbs] + [TrainTime()])


def steps(rounds, setups, n, size):
    "Seconds per step of each setup in epochs of `n` steps, shape (rounds,)"
    learns = {name: learner(cbs, n, size) for name, cbs in setups.items()}
    found = {name: [] for name in setups}
    for i in range(rounds + 1):                          # the first round warms up
        for name, learn in learns.items():
            with quiet(learn): learn.fit(1, 1e-3)
            if i: found[name].append(learn.train_time.seconds/n)
    return {name: np.array(o) for name, o in found.items()}


def updates(rounds):
    "Seconds of one update of the average: ours, timm's, and of nothing but the arithmetic; shape (rounds,)"
    learn = learner([EMA])
    with quiet(learn): learn.fit(1, 1e-3)
    v3 = timm.utils.ModelEmaV3(learn.model, decay=.9998, foreach=True)
    params = [p.detach() for p in learn.model.parameters()]
    bare = [p.clone() for p in params]
    learn.ema.before_train()                             # as within a fit
    ours, theirs, floor = [], [], []
    turns = ((ours, lambda: learn.ema.update(2e-4)), (theirs, lambda: v3.update(learn.model)),
             (floor, lambda: torch._foreach_lerp_(bare, params, 2e-4)))
    for i in range(rounds + 1):
        for found, update in turns:
            began = time.perf_counter()
            for _ in range(10): update()
            if i: found.append((time.perf_counter() - began)/10)
    return map(np.array, (ours, theirs, floor))


def draws(rounds, n=1_000_000):
    "Seconds to draw one epoch's indices of `n` items: ours, fastai's; shape (rounds,)"
    items, weights = range(n), np.random.default_rng(0).random(n)
    ours = DataLoaders(TfmdDL(items, bs=64, shuffle=True, num_workers=0)).weighted(weights).train
    theirs = WeightedDL(items, bs=64, wgts=weights, shuffle=True, num_workers=0)
    found = [], []
    for i in range(rounds + 1):
        for seconds, dl in zip(found, (ours, theirs), strict=True):
            began = time.perf_counter()
            dl.get_idxs()
            if i: seconds.append(time.perf_counter() - began)
    return map(np.array, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=8)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--groups', nargs='*', default=list(GROUPS), choices=list(GROUPS),
                        help='rows to measure; the others of the file stay')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows, plain = [], None
    for group in args.groups:
        if group == 'updates':
            plain = steps(args.rounds, {'plain': []}, 10, 64)['plain'] if plain is None else plain
            ours, theirs, floor = updates(args.rounds)
            for beside, o in (("timm's ModelEmaV3(foreach=True)", theirs), ('torch._foreach_lerp_ alone', floor), ('plain step', plain)):
                rows.append(row(group, 'update of EMA', ours, beside, o))
        elif group == 'draws':
            ours, theirs = draws(args.rounds)
            rows.append(row(group, '1,000,000 items', ours, "fastai's WeightedDL.get_idxs", theirs))
        else:
            found = steps(args.rounds, *GROUPS[group])
            if group == 'steps': plain = found['plain']
            rows += [row(group, f'step, {name}', o, 'plain step', found['plain']) for name, o in found.items()]
    df, path = pd.DataFrame(rows).round(4), Path(__file__).with_name('overhead.csv')
    if path.exists():
        old = pd.read_csv(path)
        df = pd.concat([old[~old.group.isin(df.group)], df])
    df.to_csv(path, index=False)
    print(df.to_string())


def row(group, what, ours, beside, theirs):
    "The median over rounds of the paired ratios, and their range"
    ratio = ours/theirs
    return {'group': group, 'what': what, 'ms': 1e3*np.median(ours), 'beside': beside, 'ratio': np.median(ratio),
            'lowest': ratio.min(), 'highest': ratio.max()}


if __name__ == '__main__': main()
