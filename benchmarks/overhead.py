"""What the callbacks cost: a training step with and without them, and an average's update beside timm's.

timm's resnet18 at 64 px, batch 32. All setups take turns in one process, so that a busy machine slows all of them;
each ratio is the median over rounds of (setup / plain in the same round). Writes overhead.csv beside this file.
"""
import argparse, time
from pathlib import Path

import fastai.callback.progress  # noqa: F401  gives Learner `no_bar`
import numpy as np
import pandas as pd
import timm
import torch
from fastai.callback.core import Callback
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import SGD
from fastai.torch_core import set_seed

from fastai_recipes.all import AWP, EMA, SAM, SWA
from fastai_recipes.testing import quiet, toy_dls

SETUPS = {'plain': [], 'SAM()': [SAM], 'SAM(every=2)': [lambda: SAM(every=2)], 'AWP()': [AWP], 'EMA()': [EMA],
          'SWA(every=1)': [lambda: SWA(start=0., every=1, validate=False, keep='last')], 'SAM() + EMA()': [SAM, EMA]}
STEPS, BS, SIZE = 10, 32, 64


class TrainTime(Callback):
    "Seconds of an epoch's training, and of what runs after the optimizer's step"
    order = -20
    def before_train(self): self.began = time.perf_counter()
    def after_train(self): self.seconds = time.perf_counter() - self.began


def learner(cbs):
    set_seed(0)
    x, y = torch.randn(STEPS*BS, 3, SIZE, SIZE), torch.randint(0, 10, (STEPS*BS,))
    dls = toy_dls(x, y, valid=(x[:2], y[:2]), bs=BS)
    return Learner(dls, timm.create_model('resnet18', num_classes=10), loss_func=CrossEntropyLossFlat(), opt_func=SGD,
                   cbs=[cb() for cb in cbs] + [TrainTime()])


def steps(rounds):
    "Seconds per step of each setup, shape (rounds,)"
    learns = {name: learner(cbs) for name, cbs in SETUPS.items()}
    found = {name: [] for name in SETUPS}
    for i in range(rounds + 1):                          # the first round warms up
        for name, learn in learns.items():
            with quiet(learn): learn.fit(1, 1e-3)
            if i: found[name].append(learn.train_time.seconds/STEPS)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=8)
    parser.add_argument('--threads', type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found, (ours, theirs, floor) = steps(args.rounds), updates(args.rounds)
    plain = found['plain']
    rows = [{'what': f'step, {name}', 'ms': 1e3*np.median(o), 'beside': 'plain step', 'ratio': np.median(o/plain),
             'lowest': (o/plain).min(), 'highest': (o/plain).max()} for name, o in found.items()]
    for beside, o in (("timm's ModelEmaV3(foreach=True)", theirs), ('torch._foreach_lerp_ alone', floor), ('plain step', plain)):
        rows.append({'what': 'update of EMA', 'ms': 1e3*np.median(ours), 'beside': beside, 'ratio': np.median(ours/o),
                     'lowest': (ours/o).min(), 'highest': (ours/o).max()})
    df = pd.DataFrame(rows).set_index('what').round(4)
    df.to_csv(Path(__file__).with_name('overhead.csv'))
    print(df.to_string())


if __name__ == '__main__': main()
