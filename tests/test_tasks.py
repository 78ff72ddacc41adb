"""Labels, coordinates and splits against Python integers and loops."""

import ast
import math
import operator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from grok_interp import tasks
from grok_interp.config import SplitConfig, TaskConfig
from grok_interp.tasks import ModularTask

few = settings(max_examples=30, deadline=None)

SUMS = ["add", "a**2 + b**2", "2*a + 3*b + 4", "-a + b", "a**3 - b**2", "(a + b)**2"]
SUMS += [
    "a + 2*(b - a) - 3",
    "(a - b)**3 + 1",
    "(2*a + b)**2 - (2*a + b)",
    "a + a + b",
    "(a + 1) + (b + 2)",
]
MINUS = ["subtract", "a**2 - b", "-b + a", "(a - b)**2"]
PRODUCTS = ["multiply", "a*b + 0", "a**2*b", "3*a*b**2", "(a + 1)*b", "(a*b)**2 + 5", "-(a*b)"]
PRODUCTS += ["a*b + 1", "(a*b + 2)**3"]
NEITHER = ["a**3 + a*b", "a**2 + a*b + b**2", "a**3 + a*b**2 + b"]


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def value(node: ast.AST, a: int, b: int) -> int:
    """What Python makes of an expression's tree, in its own integers; no code runs."""
    match node:
        case ast.Expression(body=inside):
            return value(inside, a, b)
        case ast.Name(id="a" | "b" as name):
            return {"a": a, "b": b}[name]
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=op, operand=inside):
            return OPERATORS[type(op)](value(inside, a, b))
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](value(left, a, b), value(right, a, b))
    raise AssertionError(ast.dump(node))


def by_python(text: str, p: int) -> list[int]:
    """Labels by Python's grammar and integers, over all pairs."""
    text = {"add": "a + b", "subtract": "a - b", "multiply": "a * b"}.get(text, text)
    tree = ast.parse(text.strip(), mode="eval")
    return [value(tree, a, b) % p for a in range(p) for b in range(p)]


# Labels


@pytest.mark.parametrize("p", [3, 4, 12, 13, 59])
@pytest.mark.parametrize("operation", SUMS + MINUS + PRODUCTS + NEITHER)
def test_labels_are_pythons(operation, p):
    task = ModularTask(p, operation)
    assert task.tokens.tolist() == [[a, b] for a in range(p) for b in range(p)]
    assert task.labels.tolist() == by_python(operation, p)
    assert task.tokens.dtype == task.labels.dtype == torch.int64


expressions = st.recursive(
    st.one_of(st.sampled_from("ab"), st.integers(0, 10**30).map(str)),
    lambda part: st.one_of(
        st.tuples(part, st.sampled_from("+-*"), part).map(lambda x: f"({x[0]} {x[1]} {x[2]})"),
        st.tuples(part, st.integers(0, 40)).map(lambda x: f"({x[0]})**{x[1]}"),
        part.map(lambda x: f"(-{x})"),
    ),
    max_leaves=6,
)


@few
@given(expressions, st.sampled_from([3, 4, 12, 13]))
def test_any_polynomial_is_pythons(text, p):
    assert ModularTask(p, text).labels.tolist() == by_python(text, p)


@pytest.mark.parametrize("p", [12, 113])
def test_a_power_beyond_int64_is_exact(p):
    found = ModularTask(p, "a**9999 + b").labels.reshape(p, p)[:, 0].tolist()
    assert found == [pow(a, 9999, p) for a in range(p)]


def test_precedence_is_pythons():
    assert ModularTask(13, "-a**2 + b").labels.tolist() == by_python("-(a**2) + b", 13)
    assert ModularTask(13, "a - b - 2*b").labels.tolist() == by_python("a - 3*b", 13)


def test_task_from_config_is_the_same_task():
    task = ModularTask(TaskConfig(12, "a**2 + b"))
    assert (task.p, task.operation) == (12, "a**2 + b")
    assert torch.equal(task.labels, ModularTask(12, "a**2 + b").labels)


# What is not a polynomial


@pytest.mark.parametrize(
    "text",
    [
        *("a/b", "a//b", "a%b", "a+c", "sin(a)", "a**b", "a**-1", "a**0.5", "a**True", "a**2**2"),
        *("", " ", "a+", "1.5*a", "1j*a", "'a'*2", "a if b else a", "a == b", "a and b", "a, b"),
        *(
            "[a]",
            "a.real",
            "a[0]",
            "lambda: 0",
            "a := b",
            "f'{a}'",
            "a\nb",
            "a; b",
            "a\0",
            "None*a",
        ),
        *("a**10001", "a**" + "9" * 50, "a**10**10", "a << 3", "~a", "not a", "\ud800"),
    ],
)
def test_text_that_is_no_polynomial_is_refused(text):
    with pytest.raises(ValueError, match="polynomial") as caught:
        ModularTask(7, text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "__import__('pathlib').Path({!r}).touch()",
        "a + open({!r}, 'w').write('x')",
        "a ** __import__('pathlib').Path({!r}).touch()",
        "[x for x in [open({!r}, 'w')]]",
        "(lambda: open({!r}, 'w'))()",
    ],
)
def test_nothing_in_the_text_is_executed(template, tmp_path):
    target = tmp_path / "executed"
    with pytest.raises(ValueError, match="polynomial"):
        ModularTask(7, template.format(str(target)))
    assert not target.exists()


DEEP = {"sum": "a" + " + a" * 2000, "signs": "-" * 2000 + "a", "brackets": "(" * 2000 + "a"}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_text_too_deep_to_walk_is_refused_and_not_a_crash(text):
    with pytest.raises(ValueError, match="polynomial"):
        ModularTask(7, text)


@pytest.mark.parametrize("name", ["divide", "Add", "x", "True"])
def test_an_unknown_name_is_told_the_known_ones(name):
    with pytest.raises(ValueError, match=f"'{name}'.*'add', 'subtract', 'multiply'"):
        ModularTask(7, name)


@pytest.mark.parametrize("p", [2, 1, 0, -7])
def test_small_moduli_are_refused(p):
    with pytest.raises(ValueError, match=f"p={p} .*p >= 3"):
        ModularTask(p)


# Coordinates


def pairs_that_hold(task: ModularTask) -> list[bool | None]:
    """Whether label == readout[(u(a) + sign v(b)) mod m] for each pair; None without coordinates."""
    found = task.coordinates
    a, b, readout = found.a.tolist(), found.b.tolist(), found.readout.tolist()
    return [
        None
        if a[i] == -1 or b[j] == -1
        else readout[(a[i] + found.sign * b[j]) % found.modulus] == label
        for (i, j), label in zip(task.tokens.tolist(), task.labels.tolist(), strict=True)
    ]


@pytest.mark.parametrize("p", [5, 12, 13, 57, 59])
@pytest.mark.parametrize("operation", SUMS + MINUS)
def test_sums_hold_at_every_pair_for_every_modulus(operation, p):
    task = ModularTask(p, operation)
    assert task.coordinates.modulus == p
    assert pairs_that_hold(task) == [True] * p**2
    assert task.has_coordinates.all()


@pytest.mark.parametrize("p", [5, 13, 59])
@pytest.mark.parametrize("operation", PRODUCTS)
def test_products_hold_at_every_pair_of_nonzero_factors(operation, p):
    task = ModularTask(p, operation)
    assert task.coordinates.modulus == p - 1
    shift = 1 if operation == "(a + 1)*b" else 0
    nonzero = [(a + shift) % p != 0 and b != 0 for a in range(p) for b in range(p)]
    assert pairs_that_hold(task) == [True if known else None for known in nonzero]
    assert task.has_coordinates.tolist() == nonzero


@pytest.mark.parametrize("p", [5, 13, 59])
@pytest.mark.parametrize(
    ("written", "factored"),
    [
        ("a*b + a + b", "(a + 1)*(b + 1) - 1"),
        ("a*b - a - b", "(a - 1)*(b - 1) - 1"),
        ("2*a*b + 2*a + 4*b", "2*(a + 2)*(b + 1) - 4"),
        ("(a*b + a + b)**2", "((a + 1)*(b + 1) - 1)**2"),
    ],
)
def test_a_product_is_found_however_it_is_written(written, factored, p):
    task, same = ModularTask(p, written), ModularTask(p, factored)
    assert torch.equal(task.labels, same.labels)
    assert task.coordinates.modulus == same.coordinates.modulus == p - 1
    assert torch.equal(task.has_coordinates, same.has_coordinates)
    holds = pairs_that_hold(task)
    assert holds == pairs_that_hold(same)
    assert False not in holds
    assert holds.count(True) == (p - 1) ** 2


@pytest.mark.parametrize("p", [5, 13, 59])
def test_logarithm_numbers_every_nonzero_token_once(p):
    found = ModularTask(p, "multiply").coordinates
    for logarithm in (found.a.tolist(), found.b.tolist()):
        assert logarithm[0] == -1
        assert sorted(logarithm[1:]) == list(range(p - 1))
    root = found.readout[1].item()
    assert found.readout.tolist() == [pow(root, e, p) for e in range(p - 1)]


@pytest.mark.parametrize("operation", MINUS)
def test_a_difference_keeps_b_and_has_sign_minus(operation):
    found = ModularTask(12, operation).coordinates
    assert found.sign == -1
    assert found.b.tolist() == list(range(12))


@pytest.mark.parametrize("operation", ["add", "subtract"])
def test_sum_and_difference_are_their_own_coordinates_and_nothing_else_is(operation):
    found = ModularTask(12, operation).coordinates
    assert found.is_identity
    assert found.points is None
    assert torch.equal(found.incidence, torch.eye(12, dtype=torch.float64).expand(3, 12, 12))
    for operation in ("a + 2*b", "a + b + 1", "(a + b)**2", "2*a + b"):
        other = ModularTask(12, operation).coordinates
        assert not other.is_identity
        assert other.sign == 1
        assert other.points is not None


@pytest.mark.parametrize(
    ("operation", "p"),
    [(operation, p) for operation in NEITHER for p in (13, 59)]
    + [("multiply", p) for p in (3, 4, 12, 57)]
    + [(operation, 13) for operation in ("a", "b**2", "7", "0*a + b", "a - a", "0*a*b")],
)
def test_no_form_is_found_where_there_is_none(operation, p):
    """Also for one operand alone, and for products that no discrete logarithm reaches."""
    task = ModularTask(p, operation)
    assert task.coordinates is None
    assert not task.has_coordinates.any()


def test_incidence_and_coverage_of_squares():
    """(a + b)**2 mod 5: class 0 collects {0}, class 1 {1, 4}, class 4 {2, 3}, 2 and 3 nothing."""
    found = ModularTask(5, "(a + b)**2").coordinates
    classes = [[t for t in range(5) if row[t]] for row in found.incidence[2].tolist()]
    assert classes == [[0], [1, 4], [], [], [2, 3]]
    assert found.covered[2, :, 0].tolist() == [True, True, False, False, True]
    squares = ModularTask(5, "a**2 + b").coordinates
    assert squares.incidence[0].argmax(1).tolist() == [0, 1, 4, 4, 1]
    assert squares.incidence.sum(-1).tolist()[:2] == [[1.0] * 5] * 2


def test_zero_is_not_covered_under_multiplication():
    found = ModularTask(7, "multiply").coordinates
    assert found.covered[:, :, 0].tolist() == [[False] + [True] * 6] * 3


def test_sums_that_never_occur_have_no_class():
    """a**2 + 3*b**2 takes every value, 2*a + 4*b mod 12 only the even ones."""
    task = ModularTask(12, "(2*a + 4*b)**2")
    assert pairs_that_hold(task) == [True] * 144
    readout = task.coordinates.readout.tolist()
    assert [t for t in range(12) if readout[t] == -1] == [1, 3, 5, 7, 9, 11]


# Splits


@pytest.mark.parametrize(
    ("p", "fraction", "expected"),
    [(113, 0.4, 5107), (59, 0.5, 1740), (10, 0.29, 29), (10, 0.07, 7), (5, 1.0, 25), (3, 0.12, 1)],
)
def test_train_size_is_the_floor_even_where_floats_fall_short(p, fraction, expected):
    split = ModularTask(p).split(fraction)
    assert len(split.train_tokens) == len(split.train_labels) == expected
    assert len(split.test_tokens) == len(split.test_labels) == p * p - expected


@few
@given(st.sampled_from([3, 4, 12, 17]), st.floats(0.2, 1.0), st.integers(0, 2**40), st.booleans())
def test_train_and_test_are_disjoint_and_exhaustive(p, fraction, seed, symmetric):
    task = ModularTask(p, "a**2 + b")
    split = task.split(fraction, seed=seed, symmetric=symmetric)
    rows = split.train_index.tolist() + split.test_index.tolist()
    assert sorted(rows) == list(range(p * p))
    expected = [list(divmod(i, p)) for i in split.train_index.tolist()]
    assert split.train_tokens.tolist() == expected
    right = by_python("a**2 + b", p)
    assert split.train_labels.tolist() == [right[i] for i in split.train_index.tolist()]
    assert split.test_labels.tolist() == [right[i] for i in split.test_index.tolist()]


def same(first: tasks.Split, second: tasks.Split) -> bool:
    names = ("train_index", "test_index", "train_labels", "resampled")
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def test_a_seed_is_a_split():
    task = ModularTask(17)
    first = task.split(0.5, label_noise=0.3, seed=1)
    assert same(first, ModularTask(17).split(0.5, label_noise=0.3, seed=1))
    assert same(first, task.split(SplitConfig(0.5, 0.3, 1)))
    other = task.split(0.5, label_noise=0.3, seed=2)
    assert not torch.equal(first.train_index, other.train_index)
    # random: about half of the pairs are shared by two independent halves
    shared = len(set(first.train_index.tolist()) & set(other.train_index.tolist()))
    assert 50 < shared < 95


def test_noise_does_not_change_which_pairs_are_trained_on():
    task = ModularTask(17)
    assert torch.equal(
        task.split(0.5, seed=3).train_index, task.split(0.5, label_noise=0.9, seed=3).train_index
    )


def test_a_generator_is_drawn_from_and_no_seed_recorded():
    task, generator = ModularTask(17), torch.Generator().manual_seed(5)
    first = task.split(0.5, label_noise=0.3, seed=generator)
    assert same(first, task.split(0.5, label_noise=0.3, seed=5))
    assert first.config == SplitConfig(0.5, 0.3, None)
    assert not same(first, task.split(0.5, label_noise=0.3, seed=generator))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    ModularTask(17).split(0.5, label_noise=0.3, seed=1, symmetric=True)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_label_noise_redraws_exactly_its_share(noise):
    split = ModularTask(59, "multiply").split(0.5, label_noise=noise)
    assert split.resampled.sum().item() == round(noise * 1740)
    changed = split.train_labels != split.clean_train_labels
    assert torch.equal(split.corrupted, changed)
    assert not (split.corrupted & ~split.resampled).any()
    right = by_python("multiply", 59)
    assert split.clean_train_labels.tolist() == [right[i] for i in split.train_index.tolist()]
    assert split.test_labels.tolist() == [right[i] for i in split.test_index.tolist()]
    # a redrawn label is right by luck with probability 1/p: 99.99% interval
    lucky = int((split.resampled & ~split.corrupted).sum())
    low, high = stats.binom.interval(0.9999, int(split.resampled.sum()), 1 / 59)
    assert noise == 0 or low <= lucky <= high


def test_redrawn_labels_are_uniform_over_all_classes_the_true_one_included():
    splits = [ModularTask(12).split(1.0, label_noise=1.0, seed=seed) for seed in range(20)]
    classes = torch.cat([split.train_labels for split in splits])
    offsets = (classes - torch.cat([split.clean_train_labels for split in splits])) % 12
    for drawn in (classes, offsets):
        assert stats.chisquare(drawn.bincount(minlength=12).numpy()).pvalue > 1e-4


def test_which_labels_are_redrawn_does_not_depend_on_the_pair():
    """Redrawn rows are spread over the train split and not its first rows."""
    split = ModularTask(59).split(0.5, label_noise=0.3, seed=0)
    rows = split.resampled.nonzero()[:, 0].double() / len(split.resampled)
    assert stats.kstest(rows.numpy(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("p", [3, 4, 12, 17])
@pytest.mark.parametrize("fraction", [0.3, 0.5, 1.0])
def test_symmetric_splits_keep_mirrored_pairs_together(p, fraction):
    split = ModularTask(p).split(fraction, seed=1, symmetric=True)
    train = set(map(tuple, split.train_tokens.tolist()))
    assert train == {(b, a) for a, b in train}
    unordered = {tuple(sorted(pair)) for pair in train}
    assert len(unordered) == math.floor(fraction * p * (p + 1) / 2 + 1e-9)


@pytest.mark.parametrize("fraction", [0.0, 1.1, -0.5, math.nan])
def test_shares_to_train_on_out_of_range_are_refused(fraction):
    with pytest.raises(ValueError, match=rf"train_fraction={fraction} .*\(0, 1\]"):
        ModularTask(5).split(fraction)


def test_a_share_that_leaves_no_pair_is_refused_with_the_least_that_does():
    with pytest.raises(ValueError, match=r"train_fraction=0.039 of 25 pairs.*at least 0.04"):
        ModularTask(5).split(0.039)
    assert len(ModularTask(5).split(0.04).train_index) == 1


@pytest.mark.parametrize("noise", [-0.1, 1.1, math.nan])
def test_noise_out_of_range_is_refused(noise):
    with pytest.raises(ValueError, match=rf"label_noise={noise} .*\[0, 1\]"):
        ModularTask(5).split(0.5, label_noise=noise)


def test_a_config_and_its_fields_together_are_refused():
    with pytest.raises(ValueError, match="got a config and also operation='subtract'"):
        ModularTask(TaskConfig(7), "subtract")
    with pytest.raises(ValueError, match="got a config and also"):
        ModularTask(7).split(SplitConfig(0.5), label_noise=0.3)
    with pytest.raises(ValueError, match="got a config and also"):
        ModularTask(7).split(SplitConfig(0.5), seed=7)


@pytest.mark.parametrize(
    ("p", "operation"), [(7, "add"), (8, "subtract"), (11, "multiply"), (7, "2*a + 3*b")]
)
def test_on_the_lattice_the_task_is_addition(p: int, operation: str) -> None:
    task = ModularTask(p, operation)
    found = task.coordinates
    m = found.modulus
    rows = found.lattice
    assert len(rows) == len(set(rows.tolist())) == m * m
    i, j = torch.cartesian_prod(torch.arange(m), torch.arange(m)).unbind(1)
    assert torch.equal(found.a[task.tokens[rows, 0]], i)
    assert torch.equal(found.b[task.tokens[rows, 1]], j)
    assert torch.equal(task.labels[rows], found.readout[(i + found.sign * j) % m])


def test_tokens_that_share_coordinates_have_no_lattice() -> None:
    with pytest.raises(ValueError, match="tokens of a do not take each of the 7 coordinates once"):
        _ = ModularTask(7, "a**2 + b").coordinates.lattice


@pytest.mark.parametrize(
    ("p", "operation"),
    [(7, "add"), (8, "add"), (8, "subtract"), (11, "multiply"), (7, "a**2 + b"), (9, "a*b + a**2")],
)
@pytest.mark.parametrize("change", ["a", "b"])
def test_one_operand_changes_and_with_it_the_answer(p: int, operation: str, change: str) -> None:
    task = ModularTask(p, operation)
    made = task.counterfactuals(change, seed=3)
    kept = 1 if change == "a" else 0
    assert torch.equal(made.clean.tokens[:, kept], made.corrupted.tokens[:, kept])
    assert (made.clean.tokens[:, 1 - kept] != made.corrupted.tokens[:, 1 - kept]).all()
    assert (made.clean.labels != made.corrupted.labels).all()
    for side in (made.clean, made.corrupted):
        assert torch.equal(side.labels, task.labels[side.tokens[:, 0] * p + side.tokens[:, 1]])


@pytest.mark.parametrize(
    ("p", "operation"), [(7, "add"), (8, "add"), (7, "subtract"), (8, "subtract")]
)
def test_the_sum_changes_and_the_difference_stays(p: int, operation: str) -> None:
    sign = 1 if operation == "add" else -1
    made = ModularTask(p, operation).counterfactuals("sum")
    (a, b), (c, d) = made.clean.tokens.T, made.corrupted.tokens.T
    assert len(made) == p * p
    assert torch.equal((a - sign * b) % p, (c - sign * d) % p)
    assert ((a + sign * b) % p != (c + sign * d) % p).all()
    assert (made.clean.labels != made.corrupted.labels).all()


def test_for_multiplication_sum_and_difference_are_product_and_quotient() -> None:
    made = ModularTask(11, "multiply").counterfactuals("sum")
    (a, b), (c, d) = made.clean.tokens.T, made.corrupted.tokens.T
    assert len(made) == 100  # pairs of nonzero tokens
    assert torch.equal(a * d % 11, c * b % 11)  # a / b = c / d
    assert (a * b % 11 != c * d % 11).all()


def test_corruptions_are_uniform_and_come_from_the_seed() -> None:
    task = ModularTask(5)
    counts = torch.zeros(5, dtype=torch.int64)
    for seed in range(200):
        made = task.counterfactuals("a", seed=seed)
        counts += ((made.corrupted.tokens[:, 0] - made.clean.tokens[:, 0]) % 5).bincount(
            minlength=5
        )
    assert counts[0] == 0
    assert (counts[1:] - 1250).abs().max() < 150  # 4 standard deviations of 30.6 and some
    one, same = (task.counterfactuals("b", n=7, seed=4) for _ in range(2))
    assert len(one) == 7
    assert torch.equal(one.corrupted.tokens, same.corrupted.tokens)
    assert len(one.clean.tokens.unique(dim=0)) == 7


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(ValueError, match="change='c'"):
        ModularTask(5).counterfactuals("c")
    with pytest.raises(ValueError, match=r"n=26 must be in 1\.\.25"):
        ModularTask(5).counterfactuals("a", n=26)
    with pytest.raises(ValueError, match=r"no coordinates were found.*change='a' or 'b'"):
        ModularTask(9, "a*b + a**2 + b**3").counterfactuals("sum")
    with pytest.raises(ValueError, match="do not take each of the 7 coordinates"):
        ModularTask(7, "a**2 + b").counterfactuals("sum")
