"""Vectors of the processor's registers for numba, whose loops over many arrays LLVM would not vectorise by itself.

A `Lanes` value is one vector. `tile` is the one product everything is made of: a block of rows and columns whose sums
stay in registers. Numba keeps compiled code per processor, so widths fixed here are those of the machine that runs.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_FEATURES = binding.get_host_cpu_features()
_WIDE = bool(_FEATURES.get("avx512f"))
WIDTH = 16 if _WIDE else 8 if _FEATURES.get("avx2") else 4
"""Numbers of float32 in a vector; float64 has half as many."""
ROWS = 8 if _WIDE or "neon" in _FEATURES or "asimd" in _FEATURES else 4
"""Rows of a batch that go through time together: with three columns they fill the registers."""
HALF = ROWS // 2

_TANH_UP = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08,
            1.48572235717979e-05, 6.37261928875436e-04, 4.89352455891786e-03)
_TANH_DOWN = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
_TANH_END = 7.90531110763549805
"""Rational approximation of tanh in float32 as in Eigen (MPL 2.0) and XLA; within 1e-6 of it everywhere."""


class Lanes(types.Type):
    """One vector of float32 or float64."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.count = WIDTH if dtype == types.float32 else WIDTH // 2
        super().__init__(name=f"Lanes({dtype})")

    @property
    def ir(self) -> Any:
        """LLVM's type."""
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.count)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.ir)


def _full(vector: Any, value: float) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _spread(builder: Any, scalar: Any, vector: Any) -> Any:
    """Return a vector of one number."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), vector.count),
                                                        [0] * vector.count))


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    """Return where a vector begins in a flat array; nothing is checked."""
    pointer = builder.gep(context.make_array(kind)(context, builder, value=array).data, [index])
    return builder.bitcast(pointer, vector.as_pointer())


def _size(lanes: Lanes) -> int:
    return int(lanes.dtype.bitwidth) // 8


@intrinsic
def width(typingctx: Any, array: Any) -> Any:
    """Return how many numbers of an array's type are in a vector."""
    count = Lanes(array.dtype).count
    return types.intp(array), lambda context, builder, sig, args: context.get_constant(types.intp, count)


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Return the vector that begins at an index of a flat array."""
    lanes = Lanes(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, sig.args[0], args[0], args[1], lanes.ir), align=_size(lanes))

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to an index of a flat array."""
    lanes = Lanes(array.dtype)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, sig.args[0], args[0], args[1], lanes.ir), align=_size(lanes))
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def ones(typingctx: Any, array: Any) -> Any:
    """Return a vector of ones of an array's type."""
    lanes = Lanes(array.dtype)
    return lanes(array), lambda context, builder, sig, args: _full(lanes.ir, 1.0)


def _arithmetic(symbol: Any, name: str) -> None:
    """Let an operator take two vectors; a product may be joined with a sum."""

    @infer_global(symbol)
    class Typed(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            same = len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]
            return signature(args[0], *args) if same else None

    @lower_builtin(symbol, Lanes, Lanes)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args, flags=("contract",))


for _symbol, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _arithmetic(_symbol, _name)


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a * b + c, rounded once where the processor can."""
    kind = f"llvm.fmuladd.v{a.type.count}f{32 if isinstance(a.type.element, ir.FloatType) else 64}"
    function = builder.module.globals.get(kind) or ir.Function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), kind)
    return builder.call(function, [a, b, c])


def _polynomial(builder: Any, x: Any, factors: tuple[float, ...]) -> Any:
    value = _full(x.type, factors[0])
    for factor in factors[1:]:
        value = _multiply_add(builder, value, x, _full(x.type, factor))
    return value


def _tanh(builder: Any, x: Any) -> Any:
    """Return the rational approximation in float32, the C library's values in float64; a nan stays nan."""
    if isinstance(x.type.element, ir.DoubleType):
        return _tanh64(builder, x)
    for end, symbol in ((-_TANH_END, "<"), (_TANH_END, ">")):
        x = builder.select(builder.fcmp_ordered(symbol, x, _full(x.type, end)), _full(x.type, end), x)
    squared = builder.fmul(x, x)
    return builder.fdiv(builder.fmul(x, _polynomial(builder, squared, _TANH_UP)),
                        _polynomial(builder, squared, _TANH_DOWN))


def _tanh64(builder: Any, x: Any) -> Any:
    kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()])
    function = builder.module.globals.get("tanh") or ir.Function(builder.module, kind, "tanh")
    value = x
    for lane in range(x.type.count):
        place = ir.Constant(ir.IntType(32), lane)
        value = builder.insert_element(value, builder.call(function, [builder.extract_element(x, place)]), place)
    return value


def _sigmoid(builder: Any, x: Any) -> Any:
    half = _full(x.type, 0.5)
    return _multiply_add(builder, half, _tanh(builder, builder.fmul(half, x)), half)


def _relu(builder: Any, x: Any) -> Any:
    zero = _full(x.type, 0.0)
    return builder.select(builder.fcmp_ordered("<", x, zero), zero, x)


def _step(builder: Any, x: Any) -> Any:
    """Return 1 where x is above 0, else 0."""
    return builder.select(builder.fcmp_ordered(">", x, _full(x.type, 0.0)), _full(x.type, 1.0), _full(x.type, 0.0))


def _activation(emit: Any) -> Any:
    @intrinsic
    def activation(typingctx: Any, x: Any) -> Any:
        return x(x), lambda context, builder, sig, args: emit(builder, args[0])

    return activation


tanh, sigmoid, relu, step = (_activation(emit) for emit in (_tanh, _sigmoid, _relu, _step))


def _make_tile(rows: int, columns: int) -> Any:
    """Return the product of a block of `rows` by `columns` vectors.

    out[r, c] = start[r, c] + sum over n < count of a[r, n] * w[n, c], where x[r, c] lies at x_at + r * x_row +
    c * x_column of its flat array, and so on; w's last stride, and start's and out's, are one vector.
    """

    @intrinsic
    def tile(typingctx: Any, out: Any, out_at: Any, out_row: Any, out_column: Any, start: Any, start_at: Any,
             start_row: Any, start_column: Any, a: Any, a_at: Any, a_row: Any, a_step: Any, w: Any, w_at: Any,
             w_step: Any, w_column: Any, count: Any) -> Any:
        lanes, integer = Lanes(out.dtype), ir.IntType(64)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def at(which: int, index: Any, vector: Any = lanes.ir) -> Any:
                return _place(context, builder, sig.args[which], args[which], index, vector)

            def index(which: int, row: int, column: int) -> Any:
                place = builder.add(args[which], builder.mul(args[which + 1], ir.Constant(integer, row)))
                return builder.add(place, builder.mul(args[which + 2], ir.Constant(integer, column)))

            cells = [(row, column) for row in range(rows) for column in range(columns)]
            sums = [builder.load(at(4, index(5, *cell)), align=_size(lanes)) for cell in cells]
            a_row_at = [builder.add(args[9], builder.mul(args[10], ir.Constant(integer, row))) for row in range(rows)]
            before, head = builder.block, builder.append_basic_block("tile.head")
            body, after = builder.append_basic_block("tile.body"), builder.append_basic_block("tile.after")
            builder.branch(head)
            builder.position_at_end(head)
            n, a_n, w_n = (builder.phi(integer) for _ in range(3))
            carried = [builder.phi(lanes.ir) for _ in cells]
            builder.cbranch(builder.icmp_signed("<", n, args[16]), body, after)
            builder.position_at_end(body)
            w_c = [builder.load(at(12, builder.add(w_n, builder.mul(args[15], ir.Constant(integer, column)))),
                                align=_size(lanes)) for column in range(columns)]
            grown = []
            for row in range(rows):
                scalar = builder.load(at(8, builder.add(a_row_at[row], a_n), lanes.ir.element), align=_size(lanes))
                spread = _spread(builder, scalar, lanes.ir)
                grown += [_multiply_add(builder, spread, w_c[column], carried[row * columns + column])
                          for column in range(columns)]
            more = [builder.add(n, ir.Constant(integer, 1)), builder.add(a_n, args[11]), builder.add(w_n, args[14])]
            last = builder.block
            builder.branch(head)
            zero = ir.Constant(integer, 0)
            for phi, first, then in zip([n, a_n, w_n, *carried], [zero, zero, args[13], *sums], [*more, *grown],
                                        strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(then, last)
            builder.position_at_end(after)
            for cell, value in zip(cells, carried, strict=True):
                builder.store(value, at(0, index(1, *cell)), align=_size(lanes))
            return context.get_dummy_value()

        at4 = [types.intp] * 3
        return types.void(out, *at4, start, *at4, a, *at4, w, *at4, types.intp), codegen

    return tile


tile1, tile2, tile3 = (_make_tile(ROWS, columns) for columns in (1, 2, 3))
"""Blocks of all rows and one, two or three vectors of columns."""
half4 = _make_tile(HALF, 4)
"""Half the rows, four vectors."""
