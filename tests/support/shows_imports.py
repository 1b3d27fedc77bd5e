"""Run `python -m valstab`, and print on standard error which slow modules it has imported."""

import atexit
import runpy
import sys

HEAVY = {"torch", "transformers", "pandas", "mlflow", "scipy", "matplotlib"}

if __name__ == "__main__":
    atexit.register(lambda: print("imported:", sorted(HEAVY & set(sys.modules)), file=sys.stderr))
    sys.argv[0] = "valstab"
    runpy.run_module("valstab", run_name="__main__")
