"""Adam and AdamW as torch has them, without its compiler, which they would import to keep it out of themselves.

That import takes longer than many a training of small tables.
"""

import inspect

import torch


class _Uncompiled(torch.optim.Optimizer):
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(_Uncompiled, torch.optim.Adam):
    """`torch.optim.Adam`, bit for bit; not for use inside `torch.compile`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Uncompiled, torch.optim.AdamW):
    """`torch.optim.AdamW`, bit for bit; not for use inside `torch.compile`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
