"""Training callbacks and recipes for fastai that are exact, composable, cheap and honest

`fastai_recipes` adds to a standard fastai `Learner` what people otherwise copy from gists: sharpness-aware minimization, averages of the weights, and more to come, each as one callback or method. Each is **exact**, equal to its paper and tested against an independent reference, and it keeps being so together with mixed precision, gradient accumulation, MixUp, clipping, frozen layers, several processes, any optimizer and each other. What it costs and what it gains or loses is measured and written down, losses included.

| `learn.add_cb(...)` | what it does | paper | status |
|---|---|---|---|
| `SAM(rho=0.05)` | sharpness-aware minimization; `adaptive=True` is ASAM, `every=k` saves time | [2010.01412](https://arxiv.org/abs/2010.01412), [2102.11600](https://arxiv.org/abs/2102.11600) | ready |
| `EMA(decay=0.9998)` | exponential moving average of the weights, for validation, saving and after `fit` | [1703.01780](https://arxiv.org/abs/1703.01780) | ready |
| `SWA(start=0.75)` | stochastic weight averaging, with BatchNorm statistics that fit and a learning rate of its own | [1803.05407](https://arxiv.org/abs/1803.05407) | ready |
| `AWP(adv_lr=1e-4)` | adversarial weight perturbation: adds the gradient at slightly worse weights | [2004.05884](https://arxiv.org/abs/2004.05884) | ready |
| `BatchLossFilter()` | train on the hardest samples of each batch | [1910.00762](https://arxiv.org/abs/1910.00762) | planned |
| `SkipNonFinite()`, `Rollback()` | fp16 that survives a NaN or a divergence | | planned |
| `WeightedSampling()` | class balance for a `Learner` that exists | | planned |
| `Checkpoint()` | resume to the bit after a kill | | planned |

Modules:

- `fastai_recipes.averaging`: Averages of the weights that training passes through: less noise than the last step, at the price of one copy.
- `fastai_recipes.awp`: Adversarial weight perturbation: add the gradient at slightly worse weights, tensor by tensor, as Kaggle's NLP winners do.
- `fastai_recipes.core`: The ground floor: what several callbacks need and a plain PyTorch loop can use too.
- `fastai_recipes.sam`: Sharpness-aware minimization: step with the gradient at the worst point nearby, so that training ends in flat minima.
- `fastai_recipes.testing`: Small real Learners to try callbacks on: digits in memory, float64 training that is exact, mixed precision on a CPU."""

__version__ = "0.1.0"
