"""Folded equals unfolded, for every method that folds; the others say what to do."""

from __future__ import annotations

import pytest
import torch

from tests import towers
from xpet.core.config import MethodConfig
from xpet.core.errors import ConfigError, ModelError
from xpet.methods.build import build_stack
from xpet.methods.table import METHODS, check_foldable, fold

CONFIGS = {**towers.METHOD_CONFIGS, **towers.FITTED_CONFIGS}
FOLDED = [name for name, config in CONFIGS.items() if METHODS[config.name].fold is not None]


def test_which_methods_fold() -> None:
    assert FOLDED == ["lora", "lora-scripts", "bitfit", "full", "linear-map"]


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-4)])
def test_folded_equals_unfolded(name: str, dtype: torch.dtype, bound: float) -> None:
    config = CONFIGS[name]
    stack = build_stack(towers.tower(dtype), config, [1])
    with stack.bare(), torch.no_grad():
        base = torch.nn.functional.normalize(stack(*towers.pad(towers.texts(6, seed=9))))
    generator = torch.Generator().manual_seed(3)
    state = {k: v + 0.05 * torch.randn(v.shape, generator=generator, dtype=dtype) for k, v in stack.state(0).items()}
    stack.load(0, state)
    with stack.one(0), torch.no_grad():
        unfolded = torch.nn.functional.normalize(stack(*towers.pad(towers.texts(6, seed=9))))
    plain = towers.tower(dtype)
    changes = fold(config, state)
    assert changes.keys() <= plain.state_dict().keys()
    merged = {k: changes[k](v.float()).to(dtype) if k in changes else v for k, v in plain.state_dict().items()}
    assert all(merged[k].shape == v.shape for k, v in plain.state_dict().items())
    plain.load_state_dict(merged)
    with torch.no_grad():
        folded = torch.nn.functional.normalize(plain(*towers.pad(towers.texts(6, seed=9))))
    assert (folded - unfolded).abs().max() < bound
    assert (folded - base).abs().max() > 1e-2


def test_lora_is_the_base_plus_the_scaled_product() -> None:
    down, up, base = torch.randn(2, 5), torch.randn(3, 2), torch.randn(3, 5)
    changes = fold(MethodConfig("lora", rank=2, alpha=6.0), {"x.lora.lora_A": down, "x.lora.lora_B": up})
    assert set(changes) == {"x.weight"}
    expected = base.double() + 3 * torch.einsum("or,ri->oi", up.double(), down.double())
    torch.testing.assert_close(changes["x.weight"](base).double(), expected, atol=1e-5, rtol=0)


def test_products_that_do_not_fit() -> None:
    down, up = torch.randn(2, 5), torch.randn(3, 2)
    with pytest.raises(ModelError) as error:
        fold(MethodConfig("lora", rank=4), {"x.lora.lora_A": down, "x.lora.lora_B": up})
    assert str(error.value) == "delta does not fit: expected products of rank 4, found other in ['x']"
    with pytest.raises(ModelError, match="found other in"):
        fold(MethodConfig("lora", rank=2), {"x.lora.lora_A": down})
    with pytest.raises(ModelError, match="found other in"):
        fold(MethodConfig("lora", rank=2), {"x.weight": down})


@pytest.mark.parametrize("name", ["adapter", "compacter", "soft-prompt"])
def test_methods_that_do_not_fold(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_foldable(MethodConfig(name), "runs/tr")
    assert str(error.value) == (
        "runs/tr: expected a run of a method that folds into the weights (lora, bitfit, full, linear-map), found "
        f"'{name}', which adds computations of its own; use the run as it is: xpet eval runs/tr"
    )
    with pytest.raises(ConfigError, match=f"^method '{name}' cannot be folded$"):
        fold(MethodConfig(name), {})
