"""What is asked of a compiler, so that a vote is that of its own noisy copy.

A compiler that mixes up the rows of a batch makes votes of other copies, and
nothing shows it. jaxlib 0.10.2 does so on a CPU: a product of tiny matrices
whose result is reduced, over more than 32,768 rows, returns for some of them
the value of another row. Rows are copies, or all pixels of all copies, so that
no bound on the chunk keeps clear of it. Programs that cast votes are therefore
compiled here, by `jit`:

* with the options of `OPTIONS`, without which these products are not fused, if
  the compiler knows them;
* after the product has been computed in that way, once per process and device
  kind, with the right result (`canary`).

Under a transformation that compiles for itself, such as `jax.jit`, options
cannot be given. Then the canary has to be right without them, as it is where
`XLA_FLAGS` holds `xla_flags.NO_FUSION`, which `import dualrs_jax` sees to.

References:
  https://github.com/jax-ml/jax/issues/39103
"""

import contextlib
import contextvars
import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dualrs_jax import host, xla_flags

#: No fusion of products with what follows them, on a CPU.
OPTIONS = {'xla_cpu_experimental_ynn_fusion_type': ''}

#: From the smallest number of rows of which some are wrong.
_ROWS = (32_769, 36_000, 40_000)

_guarded = contextvars.ContextVar('guarded', default=False)
_by_hand = contextvars.ContextVar('by_hand', default=False)


def jit(
  function: Callable[..., Any], *, static_argnames: Any = ()
) -> Callable[..., Any]:
  """`jax.jit` for a program that casts votes.

  Where a host classifier is among the arguments, Python runs the function, its
  loops and branches included, and what it consists of is compiled.

  Raises:
    ValueError: When it is called, if the compiler returns a wrong result for a
      program that is known; see `check`.
  """
  nested = jax.jit(function, static_argnames=static_argnames)

  @functools.cache
  def compiled(options):
    return jax.jit(
      function,
      static_argnames=static_argnames,
      compiler_options=dict(options) or None,
    )

  @functools.wraps(function)
  def call(*args, **kwargs):
    if host.parts((args, kwargs)):
      host.check_concrete((args, kwargs))
      with _by_python(True):
        return function(*args, **kwargs)
    if _by_hand.get():
      with _by_python(False):
        return call(*args, **kwargs)
    if _guarded.get():
      return nested(*args, **kwargs)
    device = _device((args, kwargs))
    if _traced():
      check(device, {})
      return nested(*args, **kwargs)
    chosen = options(device)
    check(device, chosen)
    with guarded():
      return compiled(tuple(chosen.items()))(*args, **kwargs)

  return call


@contextlib.contextmanager
def _by_python(chosen: bool) -> Iterator[None]:
  """Runs what would be compiled step by step; or compiles again within."""
  token = _by_hand.set(chosen)
  try:
    with jax.disable_jit(chosen):
      yield
  finally:
    _by_hand.reset(token)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
  """Programs that are traced within need no guard of their own.

  They are part of one that has it, or will not run: what is wanted is their
  shapes, or the memory that they take.
  """
  token = _guarded.set(True)
  try:
    yield
  finally:
    _guarded.reset(token)


def options(device: Any) -> dict[str, str]:
  """Those of `OPTIONS` that the compiler of a device knows: all or none."""
  return dict(OPTIONS) if _knows_options(*_kind(device)) else {}


def canary(device: Any, chosen: Mapping[str, str]) -> int:
  """How many rows of a known program are wrong; 0 if the compiler is in order.

  Args:
    device: Where it is computed: once in a process, for each kind of device.
    chosen: The options with which it is compiled.
  """
  return _wrong_rows(*_kind(device), tuple(chosen.items()))


def check(device: Any, chosen: Mapping[str, str]) -> None:
  """Raises ValueError if a device computes the canary wrongly.

  Args:
    device: Where programs will run.
    chosen: The options with which they are compiled.
  """
  wrong = canary(device, chosen)
  if wrong:
    version = importlib.metadata.version('jaxlib')
    raise ValueError(
      f'The compiler of jaxlib {version} for {device.device_kind}'
      f' gives {wrong} rows of a small product the value of another row, and'
      ' would so give votes to other copies; call this outside jax.jit and'
      ' control flow, import dualrs_jax before JAX computes anything, or start'
      f' Python with XLA_FLAGS={xla_flags.NO_FUSION}'
    )


def describe(device: Any) -> dict[str, Any]:
  """What is recorded of a compiler, beside the version of jaxlib.

  Returns:
    `XLA_FLAGS` of the process, the `options` with which votes are cast, and how
    many rows of the canary are wrong with these, and without.
  """
  chosen = options(device)
  return {
    'XLA_FLAGS': os.environ.get('XLA_FLAGS', ''),
    'options': chosen,
    'wrong_rows': canary(device, chosen),
    'wrong_rows_without_options': canary(device, {}),
  }


def squared_lengths(
  matrix: Float[Array | np.ndarray, 'out in'],
  rows: Float[Array | np.ndarray, 'rows in'],
) -> Float[Array, ' rows']:
  """|matrix row|^2 of each row: the program that is known to fail."""
  matrix = jnp.asarray(matrix)
  return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(jnp.asarray(rows))


def _kind(device) -> tuple[str, str]:
  return device.platform, device.device_kind


def _one_of(platform, device_kind):
  found = jax.local_devices(backend=platform)
  return next(device for device in found if device.device_kind == device_kind)


@functools.cache
def _wrong_rows(platform, device_kind, chosen) -> int:
  wrong = 0
  with jax.ensure_compile_time_eval():
    program = jax.jit(squared_lengths, compiler_options=dict(chosen) or None)
    for count in _ROWS:
      # Small whole numbers, with which no order of sums rounds.
      matrix = np.diag(np.array([1, 2, 1], np.float32))
      rows = np.arange(count)[:, None] % np.array([251, 241, 239])
      operands = matrix, rows.astype(np.float32)
      there = jax.device_put(operands, _one_of(platform, device_kind))
      right = rows**2 @ np.array([1, 4, 1])
      wrong += int(np.count_nonzero(np.asarray(program(*there)) != right))
  return wrong


@functools.cache
def _knows_options(platform, device_kind) -> bool:
  with jax.ensure_compile_time_eval():
    number = jax.device_put(np.float32(1), _one_of(platform, device_kind))
    try:
      jax.jit(jnp.negative, compiler_options=dict(OPTIONS))(number)
    except jax.errors.JaxRuntimeError:  # no such option
      return False
  return True


def _device(arguments: Any) -> Any:
  """One of the local devices on which a call with these arguments runs."""
  for leaf in jax.tree.leaves(arguments):
    if (
      isinstance(leaf, jax.Array)
      and not isinstance(leaf, Tracer)
      and leaf.committed
    ):
      return next(iter(leaf.sharding.addressable_devices))
  with jax.ensure_compile_time_eval():
    return next(iter(jnp.zeros(()).devices()))


def _traced() -> bool:
  """Whether what is computed here becomes part of a larger program."""
  return isinstance(jnp.zeros(()), Tracer)
