from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_runtime.config.interpolation import InterpolationError, interpolate

ENVIRON = {"SET": "value", "EMPTY": "", "DOLLAR": "${SET} $$ }", "LINES": "a: 1\n- b: ${SET}\n"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("${SET}", "value"),
        ("${EMPTY}", ""),
        ("a${SET}b${SET}c", "avaluebvaluec"),
        # Compose: with a colon an empty variable counts as unset.
        ("${SET:-d}", "value"),
        ("${EMPTY:-d}", "d"),
        ("${UNSET:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-d}", "d"),
        ("${UNSET:-}", ""),
        ("${SET:+a}", "a"),
        ("${EMPTY:+a}", ""),
        ("${UNSET:+a}", ""),
        ("${EMPTY+a}", "a"),
        ("${UNSET+a}", ""),
        ("${SET:?needed}", "value"),
        ("${EMPTY?needed}", ""),
        # nesting
        ("${UNSET:-${SET}}", "value"),
        ("${UNSET:-a${UNSET-b${EMPTY:-c}}d}", "abcd"),
        ("${SET:+<${SET}>}", "<value>"),
        ("${UNSET:-{a}}", "{a}"),
        # the operator is the first one, the rest is text
        ("${UNSET:-a:-b?c}", "a:-b?c"),
        ("${UNSET:-http://h:80/?x=1}", "http://h:80/?x=1"),
        # dollars
        ("$$", "$"),
        ("$${SET}", "${SET}"),
        ("$$$${SET}", "$${SET}"),
        ("$$${SET}", "$value"),
        ("${UNSET:-$$5}", "$5"),
        ("$.features[*]", "$.features[*]"),
        ("pa$word$", "pa$word$"),
        ("}{", "}{"),
        # a value is data
        ("${DOLLAR}", "${SET} $$ }"),
        ("${LINES}", "a: 1\n- b: ${SET}\n"),
        ("${UNSET:-${DOLLAR}}", "${SET} $$ }"),
    ],
)
def test_grammar(text: str, expected: str) -> None:
    result = interpolate(text, ENVIRON)
    assert result.text == expected
    assert result.missing == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("${A}", [("A", "")]),
        ("${A} ${B}", [("A", ""), ("B", "")]),
        ("${A:?give A}", [("A", "give A")]),
        ("${EMPTY:?give it}", [("EMPTY", "give it")]),
        ("${A?}", [("A", "")]),
        ("${A:-${B}}", [("B", "")]),
        ("${SET:+${B}}", [("B", "")]),
        # branches that are not taken may name what is unset
        ("${SET:-${B}}", []),
        ("${A:+${B}}", []),
        # a message is not interpolated: it could print another variable's value
        ("${A?see ${SET}}", [("A", "see ${SET}")]),
    ],
)
def test_missing_variables_are_all_reported(text: str, missing: list[tuple[str, str]]) -> None:
    assert [(found.name, found.message) for found in interpolate(text, ENVIRON).missing] == missing


@pytest.mark.parametrize(
    "text",
    ["${", "${}", "${1A}", "${A", "${A:-", "${A:-${B}", "${A b}", "${A:}", "${A!x}", "${-x}"],
)
def test_broken_expressions(text: str) -> None:
    with pytest.raises(InterpolationError):
        interpolate(text, ENVIRON)


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(InterpolationError, match="deep"):
        interpolate("${A:-" * 100_000 + "}" * 100_000, {})


@given(st.text())
def test_escaped_text_comes_back(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}).text == text


@given(st.text(), st.text(), st.text())
def test_a_value_is_never_read_again(before: str, value: str, after: str) -> None:
    escaped = [part.replace("$", "$$") for part in (before, after)]
    result = interpolate(escaped[0] + "${A}" + escaped[1], {"A": value})
    assert result.text == before + value + after
    assert result.variables == ["A"]


names = st.sampled_from("ABC")
environs = st.dictionaries(names, st.sampled_from(["", "x", "${A}", "}"]))
literals = st.text("ab:-?+. ", max_size=4)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> tuple[str, object]:
    """A text of the grammar, and its value as a function of the environment (None if missing)."""
    kind = draw(st.sampled_from(["literal", "plain", "-", "+"] if depth else ["literal"]))
    if kind == "literal":
        text = draw(literals)
        return text, lambda environ: text
    name = draw(names)
    if kind == "plain":
        return f"${{{name}}}", lambda environ: environ.get(name)
    colon = draw(st.sampled_from(["", ":"]))
    inner, meaning = draw(expressions(depth - 1))

    def value(environ: dict[str, str]) -> str | None:
        there = bool(environ.get(name)) if colon else name in environ
        if kind == "+":
            return meaning(environ) if there else ""
        return environ[name] if there else meaning(environ)

    return f"${{{name}{colon}{kind}{inner}}}", value


@given(st.lists(expressions(), max_size=3), environs)
def test_against_a_second_implementation(
    parts: list[tuple[str, object]], environ: dict[str, str]
) -> None:
    result = interpolate("".join(text for text, _ in parts), environ)
    values = [meaning(environ) for _, meaning in parts]  # type: ignore[operator]
    if None in values:
        assert result.missing
    else:
        assert result.text == "".join(values)
        assert not result.missing


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('${H:-{"a": 1}}', '{"a": 1}'),
        ('${H:-{"a": {"b": ${B}}}}!', '{"a": {"b": 2}}!'),
        ("${B:+{x}}y}", "{x}y}"),
        ("${H:-[1]}}", "[1]}"),
    ],
)
def test_braces_in_a_default_are_counted_as_compose_counts_them(text: str, value: str) -> None:
    assert interpolate(text, {"B": "2"}).text == value
