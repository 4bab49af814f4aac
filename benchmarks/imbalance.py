"""Macro-F1 on imbalanced data: plain, weights in the loss, drawing by weight, focal loss.

Digits, class 9 thinned to a hundredth of class 0, validated on all digits alike; breast cancer (212 malignant, 357 benign) as tabular data.
Each seed trains every setup; gains are paired by seed. Writes imbalance.csv beside this file.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle`
from fastai.data.block import CategoryBlock
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import F1Score
from fastai.tabular.all import Normalize, TabularDataLoaders, tabular_learner
from fastai.torch_core import set_seed
from fastprogress.fastprogress import progress_bar
from sklearn.datasets import load_breast_cancer

from fastai_recipes.all import FocalLoss, WeightedSampling, class_weights, dataset_targets
from fastai_recipes.testing import digits_dls, digits_learner, quiet, toy_dls


def weighted(loss, method): return lambda targets: loss(weight=class_weights(targets, method))
def sampled(*args, **kwargs): return lambda targets: WeightedSampling(*args, **kwargs)


# for each setup its loss and its callback, from the training targets
SETUPS = {'plain': (None, None),
          "class_weights('sqrt')": (weighted(CrossEntropyLossFlat, 'sqrt'), None),
          "class_weights('inverse')": (weighted(CrossEntropyLossFlat, 'inverse'), None),
          "WeightedSampling('sqrt')": (None, sampled('sqrt')),
          "WeightedSampling('balanced')": (None, sampled('balanced')),
          "WeightedSampling('balanced', schedule=p)": (None, sampled('balanced', schedule=lambda p: p)),
          'FocalLoss()': (lambda targets: FocalLoss(), None),
          "FocalLoss(class_weights('sqrt'))": (weighted(FocalLoss, 'sqrt'), None)}


def digits(seed, loss, cbs):
    whole, gen = digits_dls(seed=seed), torch.Generator().manual_seed(seed)
    x, y = whole.train_ds.tensors
    keep = [(y == c).nonzero()[:, 0] for c in range(10)]
    keep = torch.cat([o[torch.randperm(len(o), generator=gen)[:max(1, round(len(o)*100**(-c/9)))]] for c, o in enumerate(keep)])
    dls = toy_dls(x[keep], y[keep], valid=whole.valid_ds.tensors, bs=32, shuffle=True)
    dls.c, dls.vocab = whole.c, whole.vocab
    set_seed(seed)
    return digits_learner(dls, loss_func=loss(y[keep]), metrics=F1Score(average='macro'), cbs=cbs(y[keep])), 20, 1e-2


def breast_cancer(seed, loss, cbs):
    df = load_breast_cancer(as_frame=True).frame
    names = [o for o in df.columns if o != 'target']
    valid = np.random.default_rng(seed).permutation(len(df))[:len(df)//4]
    set_seed(seed)
    dls = TabularDataLoaders.from_df(df, '.', [Normalize], [], names, 'target', y_block=CategoryBlock(), valid_idx=valid, bs=32)
    y = dataset_targets(dls.train_ds)
    return tabular_learner(dls, layers=[50, 20], loss_func=loss(y), metrics=F1Score(average='macro'), cbs=cbs(y)), 5, 1e-2


def train(task, seed, loss, cbs):
    "Macro-F1 on the validation set, in %"
    learn, epochs, lr = task(seed, loss or (lambda targets: CrossEntropyLossFlat()), cbs or (lambda targets: []))
    with quiet(learn):
        learn.fit_one_cycle(epochs, lr)
        return 100*learn.validate()[1]


def sem(values): return values.std(ddof=1)/len(values)**.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, task in {'digits, 100:1': digits, 'breast cancer': breast_cancer}.items():
        found = {setup: [] for setup in SETUPS}
        for seed in progress_bar(range(args.seeds), leave=False):
            for setup, how in SETUPS.items(): found[setup].append(train(task, seed, *how))
        plain = np.array(found['plain'])
        for setup, o in found.items():
            gain = np.array(o) - plain
            rows.append({'task': name, 'setup': setup, 'macro-F1 %': np.mean(o), '± ': sem(np.array(o)), 'gain': gain.mean(),
                         '±': sem(gain), 'worst gain': gain.min()})
    df = pd.DataFrame(rows).round(2)
    df.to_csv(Path(__file__).with_name('imbalance.csv'), index=False)
    print(df.to_string())


if __name__ == '__main__': main()
