"""The errors that the library raises on purpose."""

import inspect
import warnings

import pytest

import smartsplat
from smartsplat import errors

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__ and not issubclass(kind, Warning)
]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_can_be_caught_as_the_base(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.SmartSplatError)
    with pytest.raises(errors.SmartSplatError, match=r"^a message$"):
        raise kind("a message")


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind is not errors.SmartSplatError])
def test_every_error_is_documented_where_it_is_raised(kind: type[Exception]) -> None:
    """Under "Raises" of the functions that everybody calls."""
    functions = smartsplat.encode, smartsplat.decode, smartsplat.batch
    raised = [str(inspect.getdoc(function)).partition("Raises:")[2] for function in functions]
    assert kind.__name__ in " ".join(raised)
    assert str(kind.__doc__) != str(Exception.__doc__)


def test_wrong_arguments_are_value_errors_as_everywhere_in_python() -> None:
    assert issubclass(errors.SettingsError, ValueError)
    assert not issubclass(errors.FormatError, ValueError)


def encode_as_a_caller_sees_it() -> None:
    errors.warn_of(("the first", "the second"))


def test_notices_are_warnings_where_the_caller_called() -> None:
    with pytest.warns(smartsplat.SmartSplatWarning) as caught:
        encode_as_a_caller_sees_it()
    assert [str(warning.message) for warning in caught] == ["the first", "the second"]
    assert {warning.filename for warning in caught} == {__file__}
    assert issubclass(smartsplat.SmartSplatWarning, UserWarning)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        errors.warn_of(())
