"""Trackers: TensorBoard, Weights & Biases, MLflow, Lightning's loggers; no run of a race stands beside the user's own.

What they write goes into the run's own folder. What a script logs is noted, so that a race can be decided by it. A
tracker is changed when the script imports it.
"""

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from fadeout.live.imported import when_imported

MOST = 1 << 16  # numbers that are noted
LIGHTNING = ("lightning.pytorch", "pytorch_lightning")
FABRIC = ("lightning.fabric", "lightning_fabric")


class Trackers:
    """Stands between the script and what it logs with.

    Attributes:
        logged: (name, value) of every number, in their order.
        used: Names of the trackers that the script used.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder) / "tracked"
        self.logged: list[tuple[str, float]] = []
        self.used: list[str] = []
        self._places: dict[str, str] = {}

    def begin(self) -> None:
        """From now on."""
        when_imported(self._known())

    def _known(self) -> dict[str, Callable[[ModuleType], None]]:
        """What is done to each module once it is there."""
        found: dict[str, Callable[[ModuleType], None]] = {
            "torch.utils.tensorboard.writer": lambda m: self._writer(m, "log_dir"),
            "tensorboardX.writer": lambda m: self._writer(m, "logdir"),
            "wandb": self._wandb,
            "mlflow": self._mlflow,
            "mlflow.tracking.client": self._mlflow_client,
        }
        for home in FABRIC:
            found[f"{home}.loggers.csv_logs"] = lambda m: self._moved(m.CSVLogger, "root_dir", "CSVLogger")
            found[f"{home}.loggers.tensorboard"] = lambda m: self._moved(m.TensorBoardLogger, "root_dir", "TensorBoard")
        for home in LIGHTNING:
            found[f"{home}.loggers.csv_logs"] = lambda m: self._moved(m.CSVLogger, "save_dir", "CSVLogger")
            found[f"{home}.trainer.trainer"] = self._trainer
            connector = "trainer.connectors.logger_connector.logger_connector"
            found[f"{home}.{connector}"] = lambda m: self._told(m._LoggerConnector, "log_metrics")
        return found

    # what a tracker is made to do

    def _place(self, path: Any) -> str:
        """A folder of the run for what the script calls by this path."""
        given = os.path.abspath(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else ""
        if given.startswith(str(self.folder)):
            return given
        if given not in self._places:
            self._places[given] = str(self.folder / f"{len(self._places)}-{Path(given).name or 'runs'}")
            os.makedirs(self._places[given], exist_ok=True)
        return self._places[given]

    def _moved(self, kind: Any, name: str, tracker: str) -> None:
        """Objects of a class write into the run's folder, whatever folder they are made for."""
        made = kind.__init__

        @functools.wraps(made)
        def init(it: Any, *args: Any, **kwargs: Any) -> None:
            self._use(tracker)
            if args:
                args = (self._place(args[0]), *args[1:])
            else:
                kwargs[name] = self._place(kwargs.get(name))
            made(it, *args, **kwargs)

        kind.__init__ = init

    def _writer(self, module: ModuleType, name: str) -> None:
        self._moved(module.SummaryWriter, name, "TensorBoard")
        self._told(module.SummaryWriter, "add_scalar")

    def _trainer(self, module: ModuleType) -> None:
        made = module.Trainer.__init__

        @functools.wraps(made)
        def init(it: Any, *args: Any, **kwargs: Any) -> None:
            kwargs["default_root_dir"] = self._place(kwargs.get("default_root_dir") or os.getcwd())
            made(it, *args, **kwargs)

        module.Trainer.__init__ = init

    def _wandb(self, module: ModuleType) -> None:
        begin = module.init

        @functools.wraps(begin)
        def init(*args: Any, **kwargs: Any) -> Any:
            self._use("Weights & Biases")
            run = begin(*args, **{**kwargs, "mode": "disabled"})
            for home in (module, run):
                try:
                    self._told(home, "log")
                except AttributeError:  # a run of another version
                    continue
            return run

        module.init = init  # type: ignore[attr-defined]

    def _mlflow(self, module: ModuleType) -> None:
        setattr(module, "set_tracking_uri", lambda uri: None)  # noqa: B010 - the environment names the run's folder
        for name in ("log_metric", "log_metrics"):
            self._told(module, name)

    def _mlflow_client(self, module: ModuleType) -> None:
        made = module.MlflowClient.__init__

        @functools.wraps(made)
        def init(it: Any, *args: Any, **kwargs: Any) -> None:
            self._use("MLflow")
            made(it)

        module.MlflowClient.__init__ = init

    # what is noted

    def _use(self, tracker: str) -> None:
        if tracker not in self.used:
            self.used.append(tracker)

    def _told(self, home: Any, name: str) -> None:
        """A function that logs (name, value), or a dict of them, is listened to."""
        log = getattr(home, name)

        @functools.wraps(log)
        def logging(*args: Any, **kwargs: Any) -> Any:
            self._note(tuple(arg for arg in (*args, *kwargs.values()) if arg is not home and not _object(arg)))
            return log(*args, **kwargs)

        setattr(home, name, logging)

    def _note(self, given: tuple[Any, ...]) -> None:
        values: Mapping[Any, Any] = {}
        if given and isinstance(given[0], Mapping):
            values = given[0]
        elif len(given) > 1 and isinstance(given[0], str):
            values = {given[0]: given[1]}
        for name, value in values.items():
            number = _number(value)
            if number is not None and isinstance(name, str) and len(self.logged) < MOST:
                self.logged.append((name, number))


def _object(value: Any) -> bool:
    """Whether it is the object whose method was called, and nothing that is logged."""
    return not (isinstance(value, (str, int, float, Mapping, Tensor)) or hasattr(value, "__float__"))


def _number(value: Any) -> float | None:
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
