"""Transfer from the digits 0 to 4 to 5 to 9, with 50 and 200 training images: from scratch, fine_tune, fine_tune_stages, the head alone.

timm's test_resnet at 32 px, trained on 0 to 4 for each seed. All setups of a seed train as many epochs; gains over `fine_tune` are
paired by seed. Writes transfer.csv beside this file.
"""
import argparse
import contextlib
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
import fastai.callback.schedule  # noqa: F401  gives Learner `fit_one_cycle` and `fine_tune`
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastprogress.fastprogress import progress_bar

from fastai_recipes.all import timm_splitter
from fastai_recipes.testing import digits_dls, quiet, toy_dls

EPOCHS, LR = 12, 1e-2
SETUPS = {'fine_tune': lambda learn: learn.fine_tune(EPOCHS - 2, LR, freeze_epochs=2),
          'from scratch': lambda learn: learn.fit_one_cycle(EPOCHS, LR),
          'fine_tune_stages()': lambda learn: learn.fine_tune_stages(epochs=EPOCHS - 4, lr=LR, freeze_epochs=2),
          'fine_tune_stages(freeze_bn=True)':
              lambda learn: learn.fine_tune_stages(epochs=EPOCHS - 4, lr=LR, freeze_epochs=2, freeze_bn=True),
          "fine_tune_stages(lr='find')": lambda learn: learn.fine_tune_stages(epochs=EPOCHS - 4, lr='find', freeze_epochs=2),
          'fit_head()': lambda learn: learn.fit_head(EPOCHS, LR)}


def data(classes, seed, n=None):
    dls = digits_dls(classes=classes, size=32, seed=seed)
    x, y = dls.train_ds.tensors
    new = toy_dls(x[:n], y[:n], valid=dls.valid_ds.tensors, bs=10 if n else 32, shuffle=True)
    new.c = 5
    return new


def learner(dls, state=None):
    net = timm.create_model('test_resnet', in_chans=1, num_classes=5)
    if state:
        net.load_state_dict(state)
        net.reset_classifier(5)
    return Learner(dls, net, loss_func=CrossEntropyLossFlat(), metrics=accuracy, splitter=timm_splitter)


def sem(values): return values.std(ddof=1)/len(values)**.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = 50, 200
    found, seconds = {(n, s): [] for n in sizes for s in SETUPS}, {s: [] for s in SETUPS}
    for seed in progress_bar(range(args.seeds), leave=False):
        set_seed(seed)
        first = learner(data(range(5), seed))
        with quiet(first): first.fit_one_cycle(5, 5e-3)
        state = {k: v.clone() for k, v in first.model.state_dict().items()}
        for n in sizes:
            for name, train in SETUPS.items():
                set_seed(seed)
                learn, began = learner(data(range(5, 10), seed, n), None if name == 'from scratch' else state), time.perf_counter()
                with quiet(learn), contextlib.redirect_stdout(io.StringIO()): train(learn)
                seconds[name].append(time.perf_counter() - began)
                with quiet(learn): found[n, name].append(100*learn.validate()[1])
    rows = []
    for (n, name), o in found.items():
        gain = np.array(o) - np.array(found[n, 'fine_tune'])
        rows.append({'images': n, 'setup': name, 'accuracy %': np.mean(o), '± ': sem(np.array(o)), 'gain': gain.mean(),
                     '±': sem(gain), 'worst gain': gain.min(),
                     'time / fine_tune': np.median(np.array(seconds[name])/np.array(seconds['fine_tune']))})
    df = pd.DataFrame(rows).round(2)
    df.to_csv(Path(__file__).with_name('transfer.csv'), index=False)
    print(df.to_string())


if __name__ == '__main__': main()
