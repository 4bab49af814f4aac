"""What BatchLossFilter and the guards gain and lose on digits: under wrong labels, and at a rate at which fp16 ends in NaN.

Each seed trains every setup; the gain is paired by seed. Writes robustness.csv beside this file.
"""
import argparse, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle`
from fastai.torch_core import set_seed
from fastprogress.fastprogress import progress_bar

from fastai_recipes.all import BatchLossFilter, Fp16Guard, Rollback, SkipNonFinite
from fastai_recipes.testing import CPUMixedPrecision, digits_dls, digits_learner, quiet

FILTERS = {'plain': [], 'keep=0.5': [lambda: BatchLossFilter(.5, start=.2)],
           'keep=0.7': [lambda: BatchLossFilter(.7, start=.2)],
           'keep=1, drop=0.2': [lambda: BatchLossFilter(1., drop=.2, start=.2)],
           'keep=1, drop=0.4': [lambda: BatchLossFilter(1., drop=.4, start=.2)]}
GUARDS = [CPUMixedPrecision, Fp16Guard, SkipNonFinite, lambda: Rollback(every=10, threshold=2., lr_mult=.001)]


def noisy(share, seed):
    "Digits with a part of the training labels drawn anew"
    dls, gen = digits_dls(seed=seed), torch.Generator().manual_seed(seed)
    x, y = dls.train_ds.tensors
    dls.train_ds.tensors = x, torch.where(torch.rand(len(y), generator=gen) < share, torch.randint(0, 10, y.shape, generator=gen), y)
    return dls


def train(seed, cbs, lr, dls=None, epochs=15):
    "Validation loss and accuracy at the end"
    set_seed(seed)
    learn = digits_learner(dls or digits_dls(seed=seed), cbs=[cb() for cb in cbs])
    with quiet(learn), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        learn.fit_one_cycle(epochs, lr)
        return learn.validate()[:2]


def sem(values): return values.std(ddof=1)/len(values)**.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--tasks', nargs='*', default=[''], help='parts of the names of the tasks to run; the others of the file stay')
    args = parser.parse_args()
    torch.set_num_threads(1)
    def noisy_labels(share, cbs): return lambda seed: train(seed, cbs, 1e-2, noisy(share, seed))
    def at_rate(lr, *cbs): return lambda seed: train(seed, cbs, lr)
    tasks = {f'labels, {share:.0%} wrong': {name: noisy_labels(share, cbs) for name, cbs in FILTERS.items()} for share in (0., .2, .4)}
    tasks['rate of 100'] = {'fp32, rate of 0.01': at_rate(.01), 'fp32': at_rate(100.), 'fp16': at_rate(100., CPUMixedPrecision),
                            'fp16 guarded': at_rate(100., *GUARDS)}
    rows = []
    for task, setups in tasks.items():
        if not any(o in task for o in args.tasks): continue
        found = {name: [] for name in setups}
        for seed in progress_bar(range(args.seeds), leave=False):
            for name, run in setups.items():
                found[name].append(run(seed))
        first = next(iter(found.values()))
        for name, o in found.items():
            loss, acc = np.array(o).T
            gain = 100*(acc - np.array(first)[:, 1])
            rows.append({'task': task, 'setup': name, 'valid_loss': loss.mean(), 'accuracy %': 100*acc.mean(), '± ': sem(100*acc),
                         'gain': gain.mean(), '±': sem(gain), 'worst gain': gain.min()})
    df, path = pd.DataFrame(rows).round(2), Path(__file__).with_name('robustness.csv')
    if path.exists():
        old = pd.read_csv(path)
        df = pd.concat([old[~old.task.isin(df.task)], df])
    df.to_csv(path, index=False)
    print(df.to_string())


if __name__ == '__main__': main()
