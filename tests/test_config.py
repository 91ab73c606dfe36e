"""Laws of :mod:`glottis.config`: what goes in comes out, and nothing unknown goes in."""

from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glottis.config import as_dict, build, override
from glottis.errors import InputError


@dataclass(frozen=True)
class Inner:
    width: int = 3
    rate: float = 0.5

    def __post_init__(self):
        if self.width < 1:
            raise InputError(f"width must be positive, not {self.width}")


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b"] = "a"
    level: Literal[1, 2] = 1
    inner: Inner = field(default_factory=Inner)
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, str] = (1, "x")
    parts: list[Inner] = field(default_factory=list)
    table: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    either: int | str = 0
    on: bool = False
    inner_or_none: Inner | None = None


inners = st.builds(Inner, st.integers(1, 99), st.floats(allow_nan=False, allow_infinity=False))
outers = st.builds(
    Outer,
    name=st.text(),
    kind=st.sampled_from(["a", "b"]),
    level=st.sampled_from([1, 2]),
    inner=inners,
    sizes=st.lists(st.integers()).map(tuple),
    pair=st.tuples(st.integers(), st.text()),
    parts=st.lists(inners, max_size=3),
    table=st.dictionaries(st.text(), st.floats(allow_nan=False), max_size=3),
    limit=st.none() | st.integers(),
    either=st.integers() | st.text(),
    on=st.booleans(),
    inner_or_none=st.none() | inners,
)


@given(outers)
def test_settings_survive_the_trip_through_plain_values(settings):
    plain = as_dict(settings)
    assert build(Outer, plain) == settings
    assert as_dict(build(Outer, plain)) == plain


@given(outers)
def test_plain_values_hold_only_what_yaml_and_json_know(settings):
    def check(value):
        if isinstance(value, dict):
            assert all(isinstance(key, str) for key in value)
            [check(item) for item in value.values()]
        elif isinstance(value, list):
            [check(item) for item in value]
        else:
            assert value is None or type(value) in (str, int, float, bool)

    check(as_dict(settings))


def test_defaults_fill_what_is_left_out():
    assert build(Outer, {"name": "n"}) == Outer("n")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'name' is missing"),
        ({"name": "n", "knd": "a"}, "Did you mean 'kind'"),
        ({"name": "n", "zzz": 1}, "Known settings: either, inner,"),
        ({"name": "n", "inner": {"wdth": 1}}, "inner.*'wdth'.*Known settings: rate, width"),
        ({"name": "n", "inner": {"width": 0}}, "inner: width must be positive"),
        ({"name": "n", "inner": 3}, "inner.*table"),
        ({"name": 3}, "name takes str, not 3"),
        ({"name": "n", "kind": "c"}, "Choices: a, b"),
        ({"name": "n", "level": True}, "Choices: 1, 2"),
        ({"name": "n", "sizes": 3}, "sizes takes a list"),
        ({"name": "n", "sizes": "12"}, "sizes takes a list"),
        ({"name": "n", "sizes": [1, "x"]}, r"sizes\[1\]"),
        ({"name": "n", "pair": [1]}, "takes 2 values, not 1"),
        ({"name": "n", "table": [1]}, "takes a table"),
        ({"name": "n", "table": {"a": "x"}}, r"table\.a"),
        ({"name": "n", "limit": 1.5}, "limit takes int"),
        ({"name": "n", "limit": True}, "limit takes a whole number"),
        ({"name": "n", "either": 1.5}, "either"),
        ({"name": "n", "on": 1}, "on takes bool"),
        ({"name": "n", "inner": {"rate": True}}, "rate takes float"),
        ([], "expected a table"),
    ],
)
def test_wrong_settings_are_refused_where_they_stand(values, message):
    with pytest.raises(InputError, match=message) as caught:
        build(Outer, values, "recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml")


def test_a_whole_number_serves_as_a_float_and_so_does_a_power_without_a_point():
    assert build(Inner, {"rate": 2}).rate == 2.0
    assert type(build(Inner, {"rate": 2}).rate) is float
    assert build(Inner, {"rate": "1e-4"}).rate == 1e-4


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("1e-4", 1e-4),
        ("2.5", 2.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("", None),
        ("word", "word"),
        ("a=b", "a=b"),
        ('"2024"', "2024"),
        ("'true'", "true"),
        ("[]", []),
        ("[1, 2.0, x]", [1, 2.0, "x"]),
        ("[[1, 2], [3]]", [[1, 2], [3]]),
        ("['a, b', c]", ["a, b", "c"]),
    ],
)
def test_words_of_the_command_line_become_values(text, value):
    result = override({}, [f"key={text}"])
    assert result == {"key": value}
    assert type(result["key"]) is type(value)


@given(outers, st.integers(1, 99))
def test_an_override_changes_its_setting_alone(settings, width):
    plain = as_dict(settings)
    before = as_dict(settings)
    changed = build(Outer, override(plain, [f"inner.width={width}"]))
    assert plain == before  # the source is not modified
    expected = asdict(settings)
    expected["inner"]["width"] = width
    assert asdict(changed) == expected


def test_overrides_apply_in_order_and_make_tables():
    assert override({}, ["a.b.c=1", "a.b.d=2", "a.b.c=3"]) == {"a": {"b": {"c": 3, "d": 2}}}


@pytest.mark.parametrize("word", ["novalue", "=3", "a..b=1", ".a=1", "a.=1"])
def test_a_word_that_is_no_setting_is_refused(word):
    with pytest.raises(InputError, match="is not a setting"):
        override({}, [word])


def test_a_path_through_a_single_value_is_refused():
    with pytest.raises(InputError, match="'a' is a single value"):
        override({"a": 1}, ["a.b=2"])


def test_a_choice_that_is_called_none_can_be_made_on_the_command_line() -> None:
    from glottis.models.grad_tts import Config as GradConfig
    from glottis.training.recipe import read_recipe

    recipe = read_recipe("grad_tts/paper", ["network.prior_loss=none"])
    config = build(GradConfig, recipe.network, "network")
    assert config.prior_loss == "none"
