"""What many models gain over one: scikit-learn's digits, 300 images for training, 600 to test, over seeds.

Each setup is compared with one model of the same seed: accuracy in points, and log loss. Costs are in trainings of one model,
and in models that predict. Writes ensemble.csv beside this file.
"""
import argparse
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import set_seed
from fastprogress.fastprogress import progress_bar
from sklearn.datasets import load_digits

from fastai_recipes.ensemble import Ensemble, cross_validate, paired, snapshot_ensemble, soup
from fastai_recipes.testing import quiet, small_convnet, toy_dls

EPOCHS, LR, MEMBERS = 12, 1e-2, 5


def sets(seed):
    x, y = (torch.as_tensor(o) for o in load_digits(return_X_y=True))
    x = x.float().view(-1, 1, 8, 8)/8 - 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return [(x[i], y[i]) for i in (order[:300], order[300:900])]


def learner(train, test):
    return Learner(toy_dls(*train, valid=test, bs=32, shuffle=True), small_convnet(), loss_func=CrossEntropyLossFlat())


def trained(train, test, seed, epochs=EPOCHS):
    set_seed(seed)
    learn = learner(train, test)
    with quiet(learn): learn.fit_one_cycle(epochs, LR)
    return learn


def setups(train, test, seed):
    "Name, cost of training, cost of predicting, what predicts"
    members = [trained(train, test, seed + 1000*i) for i in range(MEMBERS)]
    yield 'one model', 1, 1, members[0]
    yield f'ensemble of {MEMBERS}', MEMBERS, MEMBERS, Ensemble(members)
    yield f'ensemble of {MEMBERS}, geometric', MEMBERS, MEMBERS, Ensemble(members, 'geometric')
    folds = cross_validate(lambda a, b: learner([o[a] for o in train], [o[b] for o in train]), 300, MEMBERS, train[1],
                           fit=lambda learn: learn.fit_one_cycle(EPOCHS, LR), seed=seed)
    yield f'{MEMBERS} folds', MEMBERS*.8, MEMBERS, folds.ensemble()
    set_seed(seed)
    learn = learner(train, test)
    with quiet(learn): snapshots = snapshot_ensemble(learn, 4, EPOCHS//4, LR)
    yield 'snapshots of 4 cycles', 1, 4, snapshots
    set_seed(seed)
    student = learner(train, test)
    with quiet(student): student.distill(Ensemble(members), EPOCHS, LR)
    yield 'distilled from the ensemble', MEMBERS + 1, 1, student
    start = trained(train, test, seed, EPOCHS - 4)
    tuned = []
    for i in range(MEMBERS):
        set_seed(seed + 1000*i)
        learn = deepcopy(start, {id(start.dls): start.dls})
        with quiet(learn): learn.fit_one_cycle(4, LR)
        tuned.append(learn)
    yield f'soup of {MEMBERS} fine-tunings', (EPOCHS - 4 + 4*MEMBERS)/EPOCHS, 1, soup(tuned)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--seeds', type=int, default=5)
    args = args.parse_args()
    torch.set_num_threads(1)
    found = []
    for seed in progress_bar(range(args.seeds)):
        train, test = sets(seed)
        dl = toy_dls(*test).valid
        for name, train_cost, predict_cost, model in setups(train, test, seed):
            if isinstance(model, Learner): model = Ensemble([model])
            preds, targs = model.get_preds(dl=dl)
            found.append(dict(setup=name, seed=seed, train_cost=train_cost, predict_cost=predict_cost,
                              accuracy=100*(preds.argmax(1) == targs).float().mean().item(),
                              log_loss=F.nll_loss(preds.clamp_min(1e-15).log(), targs).item()))
    found, rows = pd.DataFrame(found), []
    one = found[found.setup == 'one model']
    for name, group in found.groupby('setup', sort=False):
        row = dict(setup=name, train_cost=group.train_cost.iloc[0], predict_cost=group.predict_cost.iloc[0], seeds=len(group))
        for metric in ('accuracy', 'log_loss'):
            row |= {metric: group[metric].mean(), f'{metric}_se': group[metric].sem()}
            if name != 'one model':
                c = paired(one[metric], group[metric])
                values = c.difference, c.se, *c.interval
                row |= {f'{metric}_gain{k}': v for k, v in zip(('', '_se', '_low', '_high'), values, strict=True)}
        rows.append(row)
    frame = pd.DataFrame(rows)
    frame.round(4).to_csv(Path(__file__).with_name('ensemble.csv'), index=False)
    print(frame.T.to_string())
    assert np.isfinite(frame.accuracy).all()


if __name__ == '__main__': main()
