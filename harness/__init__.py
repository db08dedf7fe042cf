"""Compare full fine-tuning, frozen features and parameter-efficient tuning by accuracy, cost and forgetting.

`compare`, `plan` and `load_experiment` are the Python API; the other names are for plugins. `__init__.pyi` says where each
is defined. Each is imported on first use, so that importing the package takes no time; none of them imports torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
