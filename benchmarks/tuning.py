"""What a search gains, and what pruning saves: scikit-learn's digits, half of them for training, a quarter each to search and to test.

A study of 20 trials searches the learning rate, weight decay, dropout and label smoothing of a small convolutional net, by its accuracy on the
validation set. Then the default Learner (fastai's learning rate and weight decay, no dropout) and the best settings train over other seeds, and are
compared on the test set. The same study with each pruner tells how many epochs it takes. Writes tuning.csv beside this file.
"""
import argparse
from pathlib import Path

import pandas as pd
import torch
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
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
    return Learner(dls, small_convnet(dropout=config.get('drop', 0.)), loss_func=CrossEntropyLossFlat(label_smoothing=config.get('smoothing', 0.)), metrics=accuracy)


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
    for pruner in args.pruners:
        study = tune(learner, SPACE, args.trials, EPOCHS, metric='accuracy', pruner=None if pruner == 'none' else pruner, storage=None)
        tuned = on_test(study.best_config, args.seeds)
        found = compare(default, tuned, 'accuracy')
        rows.append(dict(pruner=pruner, trials=args.trials, completed=(study.frame.ended == 'completed').sum(), epochs=study.frame.epochs.sum(), valid_accuracy=study.best_value,
                         default=default.summary.loc['accuracy', 'mean'], default_se=default.summary.loc['accuracy', 'se'],
                         tuned=tuned.summary.loc['accuracy', 'mean'], tuned_se=tuned.summary.loc['accuracy', 'se'],
                         difference=found.difference, se=found.se, low=found.interval[0], high=found.interval[1], p=found.p, n=found.n,
                         **{k: study.best_config[k] for k in SPACE}))
        print(pd.DataFrame(rows).T.to_string(), flush=True)
    frame = pd.DataFrame(rows)
    if 'none' in args.pruners: frame['saved'] = 1 - frame.epochs/frame.epochs[frame.pruner == 'none'].item()
    frame.round(5).to_csv(Path(__file__).with_name('tuning.csv'), index=False)
    print(frame.T.to_string())


if __name__ == '__main__': main()
