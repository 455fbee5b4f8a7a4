"""An agent behind an endpoint that speaks OpenAI's chat completions: a provider's, or a local server's."""

from __future__ import annotations

import os
from typing import Any

from rooflift.errors import EnvironmentFault
from rooflift.optimize.answer import Answer, NoCandidate

PREFIX = "openai:"  # before the model's name
KEY = "OPENAI_API_KEY"
ATTEMPTS = 3  # where an answer is cut off
SHORTER = (
    "Your answer was cut off before its end. Hand in the whole file again: the code alone, without a word around it."
)


def ask_endpoint(model: str, prompt: str, base_url: str | None, timeout_s: float | None) -> Answer:
    """Return a model's answer to a prompt; one that was cut off is asked for again.

    The key comes from OPENAI_API_KEY and goes nowhere else; a local server needs none. `base_url` None is the
    package's own choice: OPENAI_BASE_URL, else OpenAI. Tokens and cost are those of all attempts, where they are told.

    Raises:
        NoCandidate: the endpoint refuses, cannot be reached, takes too long, or cuts every answer off.
        EnvironmentFault: the openai package is not installed, or there is no key for a provider.
    """
    try:
        import openai
    except ImportError:
        raise EnvironmentFault("an endpoint needs openai", 'Install it: pip install "rooflift[openai]".') from None
    key, local = os.environ.get(KEY, ""), base_url or os.environ.get("OPENAI_BASE_URL")
    if not key and not local:
        raise EnvironmentFault(f"{KEY} is not set", f"Set {KEY}, or name a local server with --base-url.")
    client = openai.OpenAI(api_key=key or "none", base_url=base_url, timeout=timeout_s or openai.NOT_GIVEN)
    messages: list[dict[str, str]] = [{"role": "user", "content": prompt}]
    spent = Answer("")
    for _ in range(ATTEMPTS):
        try:
            said = client.chat.completions.create(model=model, messages=messages)  # type: ignore[arg-type]
        except openai.OpenAIError as error:
            raise NoCandidate(_without(key, f"the endpoint failed: {type(error).__name__}: {error}")) from None
        choice = said.choices[0] if said.choices else None
        spent = _added(spent, said.usage)
        text = (choice.message.content or "") if choice else ""
        if choice and choice.finish_reason == "stop" and text:
            return Answer(text, spent.tokens_in, spent.tokens_out, spent.cost_usd)
        if choice and choice.finish_reason not in ("length", "stop", None):
            raise NoCandidate(f"the endpoint ended its answer with {choice.finish_reason!r}", spent)
        messages = [messages[0], {"role": "assistant", "content": text}, {"role": "user", "content": SHORTER}]
    raise NoCandidate(f"the endpoint cut off its answer {ATTEMPTS} times", spent)


def _added(spent: Answer, usage: Any) -> Answer:
    """Add a response's usage; `cost`, in US dollars, is told by some endpoints alone."""
    told = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens", "cost"))
    return spent.plus("", *(value if isinstance(value, int | float) else None for value in told))  # type: ignore[arg-type]


def _without(key: str, text: str) -> str:
    return text.replace(key, "(key)") if key else text
