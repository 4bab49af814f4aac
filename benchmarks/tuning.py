"""What a search gains, and what pruning saves: scikit-learn's digits, half of them to train, a quarter each to search and to test.

A study of 20 trials searches the learning rate, weight decay, dropout and label smoothing of a small convolutional net, by its
accuracy on the validation set. Then the best settings train over other seeds, and are compared on the test set with the default
Learner (fastai's learning rate and weight decay, no dropout), and with that at the rate that `find_lr` gives. The same study with
each pruner tells how many epochs it takes. Writes tuning.csv beside this file.
"""
import argparse
from pathlib import Path

import pandas as pd
import torch
import fastai_recipes.transfer  # noqa: F401  gives Learner `find_lr`
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from sklearn.datasets import load_digits

from fastai_recipes.ensemble import compare, train_seeds
from fastai_recipes.testing import small_convnet, toy_dls
from fastai_recipes.tuning import search_space, tune

EPOCHS = 9
SPACE = search_space('lr', 'wd', 'drop', 'smoothing')


def sets(seed=0):
    "Training, validation and test set"
    x, y = (torch.as_tensor(o) for o in load_digits(return_X_y=True))
    x = x.float().view(-1, 1, 8, 8)/8 - 1
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return [(x[i], y[i]) for i in (order[:898], order[898:1347], order[1347:])]


def learner(config, held_out=1):
    train, other = sets()[0], sets()[held_out]
    dls = toy_dls(*train, valid=other, bs=64, shuffle=True)
    loss = CrossEntropyLossFlat(label_smoothing=config.get('smoothing', 0.))
    return Learner(dls, small_convnet(dropout=config.get('drop', 0.)), loss_func=loss, metrics=accuracy)


def on_test(config, seeds):
    "Accuracy on the test set, over seeds that the search has not used"
    def fit(learn): learn.fit_one_cycle(EPOCHS, config.get('lr'), wd=config.get('wd'))
    return train_seeds(lambda: learner(config, 2), [100 + i for i in range(seeds)], fit=fit)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument('--seeds', type=int, default=5)
    args.add_argument('--trials', type=int, default=20)
    args.add_argument('--pruners', nargs='*', default=['none', 'asha', 'hyperband', 'median'])
    args = args.parse_args()
    torch.set_num_threads(1)
    default, rows = on_test({}, args.seeds), []
    set_seed(42)
    rate = learner({}).find_lr(show_plot=False)
    at_rate = on_test(dict(lr=rate), args.seeds)
    for pruner in args.pruners:
        study = tune(learner, SPACE, args.trials, EPOCHS, metric='accuracy', pruner=None if pruner == 'none' else pruner, storage=None)
        tuned = on_test(study.best_config, args.seeds)
        row = dict(pruner=pruner, trials=args.trials, completed=(study.frame.ended == 'completed').sum(), epochs=study.frame.epochs.sum(),
                   valid_accuracy=study.best_value, found_lr=rate, **study.best_config)
        for name, runs in dict(default=default, at_found_lr=at_rate, tuned=tuned).items():
            row |= {name: runs.summary.loc['accuracy', 'mean'], f'{name}_se': runs.summary.loc['accuracy', 'se']}
        for name, runs in dict(over_default=default, over_found_lr=at_rate).items():
            c = compare(runs, tuned, 'accuracy')
            values = c.difference, c.se, *c.interval, c.p
            row |= {f'{name}{k}': v for k, v in zip(('', '_se', '_low', '_high', '_p'), values, strict=True)}
        rows.append(row)
        print(pd.DataFrame(rows).T.to_string(), flush=True)
    frame = pd.DataFrame(rows)
    if 'none' in args.pruners: frame['saved'] = 1 - frame.epochs/frame.epochs[frame.pruner == 'none'].item()
    frame.round(5).to_csv(Path(__file__).with_name('tuning.csv'), index=False)
    print(frame.T.to_string())


if __name__ == '__main__': main()
