"""Training callbacks and recipes for fastai that are exact, composable, cheap and honest

Modules:

- `fastai_recipes.averaging`: Averages of the weights that training passes through: less noise than the last step, at the price of one copy.
- `fastai_recipes.core`: The ground floor: what several callbacks need and a plain PyTorch loop can use too.
- `fastai_recipes.sam`: Sharpness-aware minimization: step with the gradient at the worst point nearby, so that training ends in flat minima.
- `fastai_recipes.testing`: Small real Learners to try callbacks on: digits in memory, float64 training that is exact, mixed precision on a CPU."""

__version__ = "0.1.0"
