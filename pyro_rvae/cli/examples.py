"""Examples in the help of the commands that use a trained run."""

from __future__ import annotations

__all__ = ["USE_EXAMPLES"]

USE_EXAMPLES = {
    "reconstruct": """examples:
  pyro-rvae reconstruct runs/mine mine.npz
  pyro-rvae reconstruct runs/mine test --mean --out again.png""",
    "interpolate": """examples:
  pyro-rvae interpolate runs/mine mine.npz --first 0 --second 5 --num 8 --out between.mid
  pyro-rvae interpolate runs/mine test --dimension 3 --out along.png
  pyro-rvae interpolate runs/mine test --swap --out swapped.npz""",
    "forecast": """examples:
  pyro-rvae forecast runs/mine past.csv --horizon 24
  pyro-rvae forecast runs/mine past.csv --horizon 96 --controls future.csv --num 500 --out forecast.png""",
    "backtest": """examples:
  pyro-rvae backtest runs/mine test --horizon 24 --seasonality 24
  pyro-rvae backtest runs/mine series.csv --horizon 96 --stride 24 --context 336 --out backtest.json""",
    "impute": """examples:
  pyro-rvae impute runs/mine gaps.csv --out filled.csv
  pyro-rvae impute runs/mine gaps.csv --rows --levels 0.8 --out gaps.csv""",
    "score": """examples:
  pyro-rvae score runs/mine new.csv
  pyro-rvae score runs/mine new.csv --quantile 0.999 --out scores.png""",
    "embed": """examples:
  pyro-rvae embed runs/mine mine.csv --out embeddings.csv
  pyro-rvae embed runs/mine mine.csv --by step --out steps.npz""",
    "models": """examples:
  pyro-rvae models""",
}
