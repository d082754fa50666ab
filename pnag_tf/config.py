"""Every setting of a run: one frozen dataclass per stage. Presets are in `presets.py`."""

from __future__ import annotations

import dataclasses
from typing import Literal

from pnag_tf.space import backbone as backbone_lib
from pnag_tf.space import space as space_lib

Device = Literal["cpu", "gpu", "mobile", "madds", "bytes"]  # the last two count instead: see latency/counted.py
Kind = Literal["float32", "float16", "dynamic_int8", "int8"]  # of a .tflite, see latency/export.py


@dataclasses.dataclass(frozen=True)
class Data:
    """Images. The resolution and the number of classes are the backbone's."""

    dataset: str = "fashion_mnist"  # 'fashion_mnist', 'folder', or any TFDS name
    data_dir: str = ""  # the image folder, or TFDS's data directory
    class_subset: int = 0  # this many classes, a seeded choice; 0 = all
    augmentation: Literal["none", "flip", "shift", "crop"] = "flip"  # 'shift' flips and moves; Inception's crop
    crop_area: float = 0.08  # the least share of a picture that a random crop shows
    rand_augment: int = 0  # operations of RandAugment on each training image
    rand_magnitude: float = 0.3  # of these, from 0 to 1
    mixup: float = 0.0  # alpha of MixUp on training images; 0 = none
    batch_size: int = 64  # in training
    validation_fraction: float = 0.2  # of the training images (section E)
    least_validation: int = 0  # where that is fewer images: as many as these, up to a fifth of the training images
    class_weights: Literal["none", "balanced"] = "none"  # of the loss; 'balanced' counts each class the same
    train_limit: int = 0  # use only this many training images; 0 = all
    in_memory_gib: float = 1.0  # image files that take no more as pixels are decoded once; not with 'crop'
    strict: bool = False  # an image file that cannot be used ends the run instead of being left out
    deterministic: bool = True  # False: a batch may take whichever files are decoded first


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase of progressive shrinking: which options may be drawn, and for how long.

    An empty tuple stands for the largest option alone.
    """

    name: str  # of its files, and in the history
    epochs: float  # parts of one too, such as 0.7
    learning_rate: float  # SGD with momentum, cosine to 0
    depths: tuple[int, ...] = ()  # that may be drawn
    kernels: tuple[int, ...] = ()  # that may be drawn
    ratios: tuple[int, ...] = ()  # that may be drawn
    subnets_per_step: int = 1  # drawn anew in each step; their gradients are averaged
    teacher: bool = True  # distil from the full network as the last phase without a teacher left it
    warmup_epochs: float = 0.0  # the learning rate rises from 0, then falls by a cosine
    full_share: float = 0.0  # share of the subnets drawn that are the full network, so that it is not forgotten
    sandwich: bool = False  # each step trains the full network, the smallest, and random ones taught by the full one


@dataclasses.dataclass(frozen=True)
class Supernet:
    """Training of the supernet (section E)."""

    phases: tuple[Phase, ...] = ()  # one after the other
    weight_decay: float = 3e-5  # not of batch norms and biases
    label_smoothing: float = 0.1  # of the labels, not of the teacher's answers
    dropout: float = 0.1  # before the classifier
    optimizer: Literal["sgd", "muon"] = "sgd"  # 'sgd' with Nesterov's momentum, or 'muon' (supernet/optimizers.py)
    momentum: float = 0.9  # of either
    distillation_weight: float = 1.0  # of the teacher's part of the loss, beside that of the labels
    ema: float = 0.0  # part of the average of the weights kept in each step; a phase ends with it; 0 = no average
    least_steps: int = 0  # of all phases together; where few images give fewer, every phase is as much longer
    adapt_epochs: float = 0.0  # of a given supernet to other images; 0 = it is used as it is
    adapt_learning_rate: float = 0.05  # of these epochs


@dataclasses.dataclass(frozen=True)
class Measure:
    """The records: how many architectures, and what their accuracy is measured on."""

    architectures: int = 16000  # M
    draw: Literal["uniform", "madds"] = "uniform"  # each option as often (section E), or evenly over log(multiply-adds)
    # what validation judges by: the share of images that are right, or the mean of the classes' shares
    objective: Literal["top1", "balanced_top1"] = "top1"
    calibration_images: int = 2000  # batch norm recalibration
    batch_size: int = 250  # of everything that measures accuracy
    validation_images: int = 0  # for each record; 0 = the whole validation set
    finalist_images: int = 0  # validation images that choose among the finalists of `eval`; 0 = all


@dataclasses.dataclass(frozen=True)
class Latency:
    """How latency is measured on a device."""

    source: Literal["table", "measured"] = "table"  # a sum over blocks, or each network timed
    threads: int = 1  # of the interpreter on a CPU
    gpu_batch: int = 64  # images in one call of a GPU; its latencies are those of a batch
    allow_cpu: bool = False  # take the CPU for the GPU where there is none: tells nothing of a GPU
    calibration_networks: int = 12  # whole networks that calibrate the table
    check_networks: int = 6  # other whole networks that its error is reported on


@dataclasses.dataclass(frozen=True)
class Phone:
    """Which phone measures, and how, with `device` 'mobile'; see `latency.android.settings.Settings`."""

    serial: str = ""  # as `adb devices` names it, or HOST:PORT; empty = $ANDROID_SERIAL, or the only one
    tool: str = ""  # benchmark_model for the phone; empty = what android_benchmark/fetch.sh fetched
    cpu_mask: str = ""  # cores in hexadecimal, 'none' for no taskset; empty = the fastest, at least one a thread
    remote_dir: str = "/data/local/tmp"  # files in few other folders of a phone may be run
    max_thermal_status: int = 0  # Android's throttling level to accept, 0 (none) to 6
    timeout_s: float = 300.0  # one run of the benchmark tool


@dataclasses.dataclass(frozen=True)
class Predictors:
    """Accuracy and latency regressors on the records."""

    # 'mlp' (section E: a network each), 'blend' (ridge regressions and an ensemble), or 'process' (a Gaussian process;
    # beyond 3,000 records, of which it would take minutes, 'blend')
    model: Literal["mlp", "blend", "process"] = "blend"
    members: int = 4  # networks of the accuracy ensemble
    hidden: int = 128  # units of a hidden layer
    layers: int = 3  # hidden layers
    activation: Literal["relu", "silu", "gelu", "tanh"] = "relu"  # of the hidden layers
    epochs: int = 60  # over the records
    batch_size: int = 256  # records
    learning_rate: float = 2e-3  # AdamW, cosine to 0
    weight_decay: float = 1e-4  # of AdamW
    held_out: float = 0.1  # fraction of the records that only judge


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The evaluator R(α|B; w) (section C)."""

    hidden: int = 512  # units of a hidden layer
    layers: int = 3  # fully connected layers in all, the linear score included
    budget_embedding: int = 64  # its size
    # 'one_hot' (section D), or 'slack': joint one-hots and the predicted slack beside them
    encoding: Literal["one_hot", "slack"] = "one_hot"
    # 'hinge' (Eqn. F), or 'margin': its margin grows with the difference in accuracy
    loss: Literal["hinge", "margin"] = "hinge"
    epochs: int = 250  # over the records
    batch_size: int = 256  # architectures; all their pairs under all budgets make one step
    optimizer: Literal["sgd", "adamw"] = "sgd"  # 'sgd' (momentum 0.9) or 'adamw'
    learning_rate: float = 0.1  # at the start, then by a cosine
    final_learning_rate: float = 1e-3  # at the end
    weight_decay: float = 0.0  # by the optimizer
    pseudo_labels: int = 0  # architectures near the frontier that the predictors label, added to the records
    pessimism: float = 0.0  # pseudo-labels are the predicted top-1 less this many times the ensemble's disagreement
    between: bool = False  # also learn from budgets drawn between the K ones
    held_out: float = 0.1  # fraction of the records that only judge


@dataclasses.dataclass(frozen=True)
class Generator:
    """The generator f(B; θ) and its policy gradient (section A)."""

    budgets: int = 10  # K, over the latency range
    spacing: Literal["even", "geometric"] = "even"  # equal steps (section E), or equal ratios for a range of many times
    first_budget: float = 0.5  # of a step that the first of them lies above the range's lower end
    samples: int = 1  # N per budget and iteration
    budget_embedding: int = 64  # the tokens' embeddings have the same size: both are added
    hidden: int = 64  # LSTM units
    heads: Literal["kind", "token"] = "kind"  # output heads one per token 'kind' (section D) or one per 'token'
    iterations: int = 120_000  # steps of the policy gradient, K·N samples each
    learning_rate: float = 3e-4  # Adam
    final_learning_rate: float = 3e-4  # cosine from the first to the last iteration
    entropy_weight: float = 1e-3  # λ
    final_entropy_weight: float = 1e-3  # geometric from the first to the last iteration
    # reward less its moving average per budget, or 'normalised' over N per budget
    advantage: Literal["moving_average", "normalised"] = "moving_average"
    between: bool = False  # draw each budget between two of the K ones instead of at them
    aim: float = 0.0  # rewards are those of a budget this part of the gap between two of the K ones below
    reward: Literal["pareto", "multi_objective", "absolute"] = "pareto"  # the evaluator, MnasNet's, TuNAS's
    reward_exponent: float = -0.07  # w of acc·(lat/T)^w, and β of acc + β·|lat/T − 1|
    checkpoint_every: int = 1000  # iterations between checkpoints


@dataclasses.dataclass(frozen=True)
class Eval:
    """What is made for each requested budget."""

    budgets: tuple[float, ...] = ()  # ms; empty = five, spread over the measured range
    quantize: tuple[Kind, ...] = ()  # other kinds of .tflite beside the run's
    raw_logits: bool = False  # networks give logits for normalised images, instead of probabilities for pixels
    samples: int = 1000  # drawn from the generator for each budget; the best predicted one within budget is taken
    refinement: int = 0  # generations of mutation and crossover that take the samples further up the predictors' hill
    pessimism: float = 0.0  # candidates rank by predicted top-1 less this many times the ensemble's disagreement
    # networks that the run measures in all: random ones to begin with (`measure.architectures`), then in rounds those
    # that are worth it; 0 = no rounds. Given records do not count.
    measurements: int = 0
    rounds: int = 0  # that these come in; 0 = as many as suit their number
    minutes: float = 0.0  # that rounds may take, choosing and measuring; 0 = as long as they need
    least_gain: float = 0.0  # in top-1; rounds end once less is expected of going on; 0 = never
    measure_command: str = ""  # shell command that measures; empty = the supernet and the device
    measure_timeout_s: float = 3600.0  # for one call of the measuring command


@dataclasses.dataclass(frozen=True)
class Limits:
    """What deployed networks may have at most, beside their latency; 0 = as much as they like."""

    madds: int = 0  # multiply-adds for one image
    params: int = 0  # trainable parameters
    bytes: int = 0  # of the file
    memory_mb: float = 0.0  # of what the interpreter holds beside the weights, without a delegate


@dataclasses.dataclass(frozen=True)
class Finetune:
    """Training of a chosen network from the supernet's weights (section E); what is not here is `Supernet`'s."""

    epochs: int = 75  # of the largest network; 0 = none: networks are deployed with the supernet's weights
    equalise: float = 0.0  # smaller networks train longer: (multiply-adds of the largest / their own)^equalise times
    least_steps: int = 0  # few images are seen in as many epochs more
    optimizer: Literal["sgd", "adam", "muon"] = "sgd"  # 'sgd' with Nesterov's momentum, or as named
    learning_rate: float = 0.02  # cosine to 0
    ema: float = 0.0  # part of the average of the weights that is kept in each step, such as 0.999; 0 = no average
    # more of them with int8's rounding, for a network of kind int8 that loses more than half a point by it
    int8_epochs: int = 2
    processes: int = 1  # that train networks side by side where there is no GPU; 0 = one more than there are cores
    archs: str = ""  # for stage finetune: CSV with columns budget_ms and arch, as another run's eval/pnag.csv


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Off-the-shelf networks, trained in the time that the run took (stage `baselines`)."""

    networks: tuple[str, ...] = ()  # names in zoo/shelf.py; empty = all that are for the resolution
    time: Literal["each", "shared"] = "each"  # 'each' trains as long as the run took, or all together do ('shared')
    minutes: float = 0.0  # that long instead of as long as the run took; 0 = as long as the run took
    weights: Literal["none", "imagenet"] = "none"  # what networks of keras.applications start from


@dataclasses.dataclass(frozen=True)
class Memory:
    """How much a process may hold; what is measured does not depend on it."""

    images_gib: float = 2.0  # decoded validation images, as uint8, and as much for calibration; more are streamed

    @property
    def held_bytes(self) -> int:
        return int(self.images_gib * 2**30)


@dataclasses.dataclass(frozen=True)
class Ray:
    """Processes that measure the records."""

    address: str = ""  # 'local', 'auto' or host:port; empty = this process measures alone
    workers: int = 0  # 0 = one for each GPU, or for each four cores


@dataclasses.dataclass(frozen=True)
class Tune:
    """How many trials KerasTuner makes."""

    evaluator_trials: int = 24  # of stage tune
    generator_trials: int = 24  # of stage tune
    random_trials: int = 1000  # of method kt_random, for each budget
    bayesian_trials: int = 12  # of method kt_bayesian, for each budget, after three random ones a token


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    preset: str
    space: space_lib.SearchSpace = space_lib.SearchSpace()
    backbone: backbone_lib.Backbone = backbone_lib.Backbone()
    data: Data = Data()
    supernet: Supernet = Supernet()
    measure: Measure = Measure()
    latency: Latency = Latency()
    phone: Phone = Phone()
    predictors: Predictors = Predictors()
    evaluator: Evaluator = Evaluator()
    generator: Generator = Generator()
    eval: Eval = Eval()
    limits: Limits = Limits()
    finetune: Finetune = Finetune()
    tune: Tune = Tune()
    baselines: Baselines = Baselines()
    memory: Memory = Memory()
    ray: Ray = Ray()
    device: Device = "cpu"  # whose latency counts
    kind: Kind = "float32"  # of the .tflite that are deployed: their latency and accuracy count
    method: str = "pnag"  # or one that it is compared with
    mixed_precision: bool = False  # supernet and fine-tuning train with bfloat16 activations; all else is float32
    seed: int = 0  # of everything random

    @property
    def measured(self) -> int:
        """How many networks the run measures on its supernet, before and in rounds."""
        return max(self.measure.architectures, self.eval.measurements)
