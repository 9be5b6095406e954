"""Which libraries' models are converted, by the extensions of their files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

from beamsplit.models.convert.original import Original
from beamsplit.models.errors import UsageError


@dataclass(frozen=True)
class Kind:
    """A library."""

    title: str
    extensions: tuple[str, ...]
    module: str
    """With `load(path, trust) -> Original`."""

    needs: str
    """What is installed to convert its models."""

    def load(self, path: str, trust: bool) -> Original:
        """The model of a file.

        Args:
            path: on this machine.
            trust: whether code that the file names may run.

        Raises:
            UsageError: a library is missing, or the file is no such model, or is not trusted.
        """
        try:
            module = import_module(f"beamsplit.models.convert.{self.module}")
        except ImportError as error:
            raise UsageError(
                f"{path} is a model of {self.title}, and what converts it is not installed ({error}): "
                f"pip install {self.needs}"
            ) from None
        try:
            return cast(Original, module.load(path, trust))
        except UsageError:
            raise
        except Exception as error:  # each library has errors of its own for a file that is none of its
            why = " ".join(str(error).split())[:300] or type(error).__name__
            raise UsageError(f"{path} cannot be loaded as a model of {self.title} ({why}): save it again") from None


KINDS = (
    Kind("scikit-learn", (".skops", ".pkl", ".pickle", ".joblib"), "sklearn_model", "'beamsplit[convert]'"),
    Kind("XGBoost", (".ubj", ".json"), "xgboost_model", "'beamsplit[convert]' xgboost"),
    Kind("LightGBM", (".txt", ".lgb"), "lightgbm_model", "'beamsplit[convert]' lightgbm"),
    Kind("PyTorch", (".pt2",), "torch_model", "torch onnxscript"),
    Kind("CatBoost", (".cbm",), "catboost_model", "'beamsplit[convert]' catboost"),
)


def kind_of(path: str) -> Kind:
    """The library whose model a file is.

    Raises:
        UsageError: the extension tells none.
    """
    for kind in KINDS:
        if path.lower().endswith(kind.extensions):
            return kind
    if path.lower().endswith((".pt", ".pth")):
        raise UsageError(
            f"{path} is of PyTorch, and holds weights or a pickled module, but no graph: export the model, "
            "torch.export.save(torch.export.export(model, (example,), dynamic_shapes=({0: Dim('rows')},)), 'm.pt2')"
        )
    known = "; ".join(f"{kind.title}: {', '.join(kind.extensions)}" for kind in KINDS)
    raise UsageError(f"{path}: the extension tells no library whose models are converted ({known})")
