"""No credential is in what an exception says."""

from __future__ import annotations

import pytest

from procorch.errors import StreamError
from procorch.errors.base import describe_failure
from procorch.errors.plain_data import from_plain, to_plain
from procorch.errors.redaction import redact

SECRET = "s3cr3t-v4lue"


@pytest.mark.parametrize(
    "text",
    [
        "Illegal header value b'Bearer {}\\n'",
        "Illegal header value b'{}\\n'",
        "Invalid header value b'{}'",
        "Invalid return character(s) in header value: '{}\\n'",
        "Authorization: Bearer {}",
        "{{'Authorization': 'Bearer {}'}}",
        "(b'x-api-key', b'{}')",
        'Provider(base_url=url, api_key="{}")',
        "Incorrect API key provided: {}, see",
        "OPENAI_API_KEY={}",
        "https://localhost/v1?key={}&alt=json",
        "postgres://me:{}@localhost/db",
        "client_secret='{}'",
        "sk-{}",
        "b'sk-ant-api03-{}'",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    hidden = redact(text.format(SECRET))
    assert SECRET not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    [
        "boom",
        "KeyError: 'city'",
        "max_tokens=5000000 is too many tokens",
        "Bearer authentication required",
        "the api_key client option must be set, or the OPENAI_API_KEY environment variable",
        "api_key=settings.key, base_url=url",
        "https://localhost:8080/v1/chat?page=2",
        "a task-list of 12345678 items, risk-free",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_the_values_of_variables_that_are_credentials_are_hidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert redact("it was plain words") == "it was plain words"
    monkeypatch.setenv("SOME_API_KEY", "plain words\n")
    monkeypatch.setenv("SOME_TOKEN", "short")
    assert redact("it was plain words, short") == "it was ***, short"


def failing() -> None:
    try:
        raise ValueError(f"Illegal header value b'Bearer {SECRET}\\n'")
    except ValueError as cause:
        cause.add_note(f"authorization: Bearer {SECRET}")
        raise StreamError(f"api_key={SECRET}") from cause


def test_nothing_that_is_told_of_an_exception_has_the_credential() -> None:
    with pytest.raises(StreamError) as caught:
        failing()
    plain = to_plain(describe_failure(caught.value))
    assert SECRET not in str(plain)
    found = from_plain(plain)
    assert SECRET not in f"{found} {found.remote_traceback} {found.__cause__} {found.__notes__}"
