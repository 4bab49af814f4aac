"""Training callbacks and recipes for fastai that are exact, composable, cheap and honest

`fastai_recipes` adds to a standard fastai `Learner` what people otherwise copy from gists: sharpness-aware minimization, averages of the weights, training on the hardest samples, mixed precision that survives a NaN, trainings that survive a kill, and more to come, each as one callback or method. Each is **exact**, equal to its paper and tested against an independent reference, and it keeps being so together with mixed precision, gradient accumulation, MixUp, clipping, frozen layers, several processes, any optimizer and each other.

| `learn.add_cb(...)` | what it does | paper | status |
|---|---|---|---|
| `SAM(rho=0.05)` | sharpness-aware minimization; `adaptive=True` is ASAM, `every=k` saves time | [2010.01412](https://arxiv.org/abs/2010.01412), [2102.11600](https://arxiv.org/abs/2102.11600) | ready |
| `EMA(decay=0.9998)` | exponential moving average of the weights, for validation, saving and after `fit` | [1703.01780](https://arxiv.org/abs/1703.01780) | ready |
| `SWA(start=0.75)` | stochastic weight averaging, with BatchNorm statistics that fit and a learning rate of its own | [1803.05407](https://arxiv.org/abs/1803.05407) | ready |
| `AWP(adv_lr=1e-4)` | adversarial weight perturbation: adds the gradient at slightly worse weights | [2004.05884](https://arxiv.org/abs/2004.05884) | ready |
| `BatchLossFilter(keep=0.7)` | train on the hardest samples of each batch; `drop` leaves the very hardest (wrong labels) out | [1910.00762](https://arxiv.org/abs/1910.00762) | ready |
| `SkipNonFinite(max_consecutive=20)` | leave out batches that are not finite, as if they did not exist; a report when there are too many | | ready |
| `Rollback(every=50)` | on divergence back to the last good state, on with a lower rate, in fp32 if need be | | ready |
| `Fp16Guard()` | the loss scale goes on from fit to fit; with the two above: `learn.to_fp16_guarded()` | | ready |
| `WeightedSampling('sqrt')` | draws the items of rare classes more often, in a `Learner` that exists; also over- and undersampling, and a schedule | [1910.09217](https://arxiv.org/abs/1910.09217), [1901.05555](https://arxiv.org/abs/1901.05555) | ready |
| `GradientNoise(every=20)` | records the gradient's noise scale while training | [1812.06162](https://arxiv.org/abs/1812.06162) | ready |
| `LayerStats(every=10)` | records how far each layer moves, its gradient's norm, and histograms of its outputs and gradients | | ready |
| `Checkpoint(every='epoch')` | after a kill, `learn.resume()` and the same fit call go on, to the bit | | ready |

Modules:

- `fastai_recipes.callbacks.averaging`: Averages of the weights that training passes through: they have less noise than the last step, and cost one copy.
- `fastai_recipes.callbacks.awp`: Adversarial weight perturbation adds the gradient at slightly worse weights, as Kaggle's NLP winners do.
- `fastai_recipes.callbacks.batch_filter`: Train on the hardest samples of each batch, or on all but the very hardest, and pay less for the backward pass.
- `fastai_recipes.callbacks.checkpoint`: A training run that was killed resumes where it stopped, bit for bit.
- `fastai_recipes.callbacks.fp16`: Keeps the loss scale from one `fit` to the next, and raises an `eps` that is too small for float16.
- `fastai_recipes.callbacks.gradient_noise`: Record the gradient's noise scale during training.
- `fastai_recipes.callbacks.layer_stats`: Record how far each layer moves, its gradient's norm, and histograms of its outputs and gradients.
- `fastai_recipes.callbacks.rollback`: If training diverges, restores the last good state and continues with a lower learning rate.
- `fastai_recipes.callbacks.sam`: Sharpness-aware minimization: step with the gradient at the worst point nearby, so that minima are flat.
- `fastai_recipes.callbacks.skip_non_finite`: Leaves out batches whose loss or gradients are not finite, as if they did not exist.
- `fastai_recipes.callbacks.weighting`: Draw the items of rare classes more often, in a Learner that exists; its data stays as it was.
- `fastai_recipes.core.checks`: Checks that refuse a wrong argument early, and say what was given, what is allowed and what to do.
- `fastai_recipes.core.factory`: Learners that all begin the same, and copies of models and Learners.
- `fastai_recipes.core.files`: Write a file that is complete whenever it is there, and read it without running code that it may contain.
- `fastai_recipes.core.finite`: Find where a NaN comes from, and restore the buffers and gradients that a bad batch has changed.
- `fastai_recipes.core.fit`: What a callback needs to know about its fit: real steps, searches and validations, precision.
- `fastai_recipes.core.loader`: A training loader that gets its items from a function, with everything else as it was.
- `fastai_recipes.core.metrics`: The names and values of what a fit records, and whether lower or higher is better.
- `fastai_recipes.core.processes`: Several processes that train together: how many there are, and decisions that are the same in each.
- `fastai_recipes.core.rng`: Random generators and shuffles: draw the same numbers again, and train on as if nothing had been drawn.
- `fastai_recipes.core.run_state`: Everything that a training run is made of, as state that can be written to a file and put back.
- `fastai_recipes.core.sample_loss`: One loss per sample, from any loss function that can be asked for it.
- `fastai_recipes.core.second_pass`: Running the current batch again, and a base class for callbacks that compute a step's gradient at other weights.
- `fastai_recipes.core.smoothed_loss`: Tell a training run that diverges from the usual scatter of the batches' losses.
- `fastai_recipes.core.snapshot`: Everything of a Learner that training changes, kept and restored; training runs that leave no trace.
- `fastai_recipes.core.tensors`: A model's tensors: their names, averages, finiteness, values that are restored, BatchNorm on hold, parts of a batch.
- `fastai_recipes.core.weight_average`: A base for callbacks that average weights: it decides which weights the model has at which time.
- `fastai_recipes.losses`: Losses for imbalanced classes and for several labels, which work in any loop and in every part of a `Learner`.
- `fastai_recipes.optimizers`: Optimizers by name, ready for a `Learner`: freezing, rates per group, schedules and `wd_bn_bias=False` work.
- `fastai_recipes.recipes.batch_size`: Find the largest batch that fits into memory, and train with more items per step than fit.
- `fastai_recipes.recipes.combination`: One prediction from several models: averaged probabilities, logits or ranks, with weights fitted out of fold.
- `fastai_recipes.recipes.diagnosis`: What a trained model gets wrong, and how sure it is; which labels to doubt; whether validation predicts the test.
- `fastai_recipes.recipes.distillation`: One model learns from several: from the targets, and from what a teacher predicts for each batch.
- `fastai_recipes.recipes.ensemble`: Several models that predict as one: Learners and exported files, each with its own data preparation.
- `fastai_recipes.recipes.folds`: Cross-validation that predicts each item with a model that has not seen it, and keeps the models of the folds.
- `fastai_recipes.recipes.gradient_check`: Compare a model's gradients with finite differences in float64.
- `fastai_recipes.recipes.guards`: Trains in float16 with three guards, so that a NaN, an overflow or a divergence does not end in a broken model.
- `fastai_recipes.recipes.learning_rate`: A reproducible `lr_find` that leaves the Learner unchanged.
- `fastai_recipes.recipes.noise_scale`: Find the batch size at which the noise of a batch's gradient is as large as the gradient itself.
- `fastai_recipes.recipes.predictions`: Predict each item once, with its index and its loss, and tell from the shapes what targets mean.
- `fastai_recipes.recipes.ray`: The same trials under Ray Tune, with population-based training.
- `fastai_recipes.recipes.samplers`: Optuna's samplers and pruners as `tune` uses them: the same point for the same place, in whatever process.
- `fastai_recipes.recipes.sanity`: Check whether training is sound: can the model fit one batch, and does each layer move?
- `fastai_recipes.recipes.schedules`: Fits with learning-rate schedules that fastai lacks: flat with SWA, on plateaus, warm-up, cosine, cosine restarts.
- `fastai_recipes.recipes.search_space`: The settings of a search as plain data, and the config that a trial gets.
- `fastai_recipes.recipes.seeds`: Is a gain real? Runs over several seeds, their differences with intervals, and a refit that ends at the best epoch.
- `fastai_recipes.recipes.snapshots`: Several models from one training run, and one model from several: ends of cycles, and means of weights.
- `fastai_recipes.recipes.study`: The outcome of a search: its trials, and what is best.
- `fastai_recipes.recipes.transfer`: Fine-tuning stage by stage, parameter groups for timm's models, and the cheap baseline on cached features.
- `fastai_recipes.recipes.trial`: What a search calls: make a Learner for a config, train it, and give its metric.
- `fastai_recipes.recipes.tuning`: A search for hyper-parameters that stops bad trials early, and can be interrupted and continued at any time.
- `fastai_recipes.recipes.unlabelled`: Labels that a model is sure enough of to train on, and the items that a person should label next.
- `fastai_recipes.recipes.workers`: Several processes share the trials of an Optuna study, and a point whose process dies is tried again.
- `fastai_recipes.splits`: Training and validation sets that keep groups together and rare labels in both, as fastai splitters and as folds.
- `fastai_recipes.targets`: Read the targets of any dataset, count the items of each class, and give rare classes more weight.
- `fastai_recipes.testing`: Small real Learners to try callbacks on: digits in memory, exact training in float64, and mixed precision on a CPU."""

__version__ = "0.1.0"
