"""The main job: train on real digits plainly, with SAM, with EMA and with both, over several seeds.

A quarter of the images is for training, at a constant learning rate: so there is something left to gain.

Prints a table, and saves it as CSV beside a picture of the validation curves. `make demo` runs it.
"""
import argparse, time
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle`
from fastai.callback.core import Callback
from fastai.torch_core import set_seed
from fastprogress.fastprogress import progress_bar

from fastai_recipes.all import AWP, EMA, SAM, SWA
from fastai_recipes.testing import digits_dls, digits_learner, quiet

SETUPS = {'plain': [], 'SAM': [SAM], 'EMA': [EMA], 'SAM + EMA': [SAM, EMA], 'SAM(0.2)': [lambda: SAM(.2)],
          'ASAM': [lambda: SAM(1., adaptive=True)], 'SWA': [SWA], 'AWP': [lambda: AWP(1e-2, start=.2)]}
SHOWN = ['plain', 'SAM', 'EMA', 'SAM + EMA']


class Watch(Callback):
    "Times each epoch's training, and moves the progress bar"
    order = -20
    def __init__(self, bar, done): self.bar, self.done, self.seconds = bar, done, []
    def before_train(self): self.began = time.perf_counter()
    def after_train(self): self.seconds.append(time.perf_counter() - self.began)
    def after_epoch(self):
        self.done += 1
        self.bar.update(self.done)


def train(cbs, seed, epochs, fit, bar, done):
    "Validation accuracy after each epoch, and the median seconds of an epoch's training"
    set_seed(seed)
    learn = digits_learner(digits_dls(bs=32, seed=seed, valid_pct=.75), dropout=.2, cbs=[cb() for cb in cbs] + [Watch(bar, done)])
    with quiet(learn): getattr(learn, fit)(epochs, 1e-2)
    return [row[-1] for row in learn.recorder.values], np.median(learn.watch.seconds)


def run(setups, seeds, epochs, fit):
    "`(accuracies, seconds)` of each setup: arrays of shape (seeds, epochs) and (seeds,)"
    bar = progress_bar(range(seeds*len(setups)*epochs))
    bar.update(0)
    acc, secs = ({name: [] for name in setups} for _ in range(2))
    done = 0
    for seed in range(seeds):          # the setups take turns, so that a busy machine slows all of them
        for name in setups:
            bar.comment = f'{name}, seed {seed}'
            a, s = train(SETUPS[name], seed, epochs, fit, bar, done)
            done += epochs
            acc[name].append(a)
            secs[name].append(s)
    return {n: np.array(a) for n, a in acc.items()}, {n: np.array(s) for n, s in secs.items()}


def table(acc, secs):
    "One row for each setup; the standard error is over seeds, differences to plain are paired by seed"
    def se(x): return x.std(ddof=1)/len(x)**.5
    rows = []
    for name in acc:
        last, gain = 100*acc[name][:, -1], 100*(acc[name][:, -1] - acc['plain'][:, -1])
        rows.append({'setup': name, 'accuracy %': f'{last.mean():.2f} ± {se(last):.2f}',
                     'gain over plain': '' if name == 'plain' else f'{gain.mean():+.2f} ± {se(gain):.2f}',
                     'seconds per epoch': f'{np.median(secs[name]):.2f}',
                     'time / plain': f"{np.median(secs[name]/secs['plain']):.2f}"})
    return pd.DataFrame(rows).set_index('setup')


def picture(acc, path):
    "Mean validation accuracy after each epoch, with a band of one standard error"
    fig, ax = plt.subplots(figsize=(7, 4))
    for name, a in acc.items():
        epochs, mean, se = np.arange(1, a.shape[1] + 1), 100*a.mean(0), 100*a.std(0, ddof=1)/len(a)**.5
        ax.plot(epochs, mean, label=name)
        ax.fill_between(epochs, mean - se, mean + se, alpha=.2)
    ax.set(xlabel='epoch', ylabel='validation accuracy, %', ylim=(85, 100), title=f"scikit-learn's digits, {len(a)} seeds")
    ax.legend()
    fig.tight_layout()
    fig.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=3, help='trainings of each setup, at least 2')
    parser.add_argument('--epochs', type=int, default=20, help='epochs of each training')
    parser.add_argument('--fit', choices=('fit', 'fit_one_cycle', 'fit_flat_cos'), default='fit', help="a Learner's method")
    parser.add_argument('--setups', nargs='+', choices=list(SETUPS), default=SHOWN, help='what to compare; plain is always there')
    parser.add_argument('--out', type=Path, default=Path(__file__).with_name('out'), help='folder for demo.csv and demo.png')
    args = parser.parse_args()
    if args.seeds < 2 or args.epochs < 1: parser.error('at least 2 seeds (for a standard error) and 1 epoch are needed')
    torch.set_num_threads(1)   # the net is too small for more, and on a busy machine threads wait for each other
    began = time.perf_counter()
    acc, secs = run(list(dict.fromkeys(['plain', *args.setups])), args.seeds, args.epochs, args.fit)
    df = table(acc, secs)
    args.out.mkdir(parents=True, exist_ok=True)
    df.to_csv(args.out/'demo.csv')
    picture(acc, args.out/'demo.png')
    took = time.perf_counter() - began
    print(f"\nDigits, {args.seeds} seeds, {args.epochs} epochs, {args.fit}, {took:.0f} s in all; mean ± standard error\n")
    print(df.to_string())
    print(f"\nsaved {args.out/'demo.csv'} and {args.out/'demo.png'}")


if __name__ == '__main__': main()
