"""An agent behind an endpoint: a scripted server on loopback that speaks chat completions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rooflift.errors import EnvironmentFault
from rooflift.optimize.answer import NoCandidate
from rooflift.optimize.endpoint import ATTEMPTS, ask_endpoint

pytest.importorskip("openai")

SECRET = "sk-never-to-be-seen-0123456789"


class Server:
    """An endpoint that plays a script: each entry is an answer's text and its reason to end, or a status."""

    def __init__(self) -> None:
        self.script: list[tuple[str, str] | int] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the library's name
                outer.keys.append(self.headers.get("Authorization", ""))
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                step = outer.script.pop(0)
                if isinstance(step, int):
                    self.send_response(step)
                    body = {"error": {"message": f"no such key: {SECRET}"}}
                else:
                    self.send_response(200)
                    message = {"role": "assistant", "content": step[0]}
                    choice = {"index": 0, "message": message, "finish_reason": step[1]}
                    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.25}
                    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
                    body["usage"] = usage
                data = json.dumps(body).encode()
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.http.shutdown()
    thread.join()
    found.http.server_close()


def test_the_prompt_goes_there_and_the_answer_comes_back_with_its_cost(server: Server) -> None:
    server.script = [("the candidate", "stop")]
    found = ask_endpoint("some-model", "the prompt", server.url, 20)
    assert (found.text, found.tokens_in, found.tokens_out, found.cost_usd) == ("the candidate", 10, 5, 0.25)
    assert server.asked[0]["model"] == "some-model"
    assert server.asked[0]["messages"] == [{"role": "user", "content": "the prompt"}]
    assert server.keys == [f"Bearer {SECRET}"]


def test_an_answer_that_was_cut_off_is_asked_for_again(server: Server) -> None:
    server.script = [("import tor", "length"), ("import torch", "stop")]
    found = ask_endpoint("m", "the prompt", server.url, 20)
    assert (found.text, found.tokens_in, found.cost_usd) == ("import torch", 20, 0.5)  # both are paid for
    assert [one["role"] for one in server.asked[1]["messages"]] == ["user", "assistant", "user"]
    server.script = [("import tor", "length")] * ATTEMPTS
    with pytest.raises(NoCandidate, match="cut off its answer 3 times") as caught:
        ask_endpoint("m", "the prompt", server.url, 20)
    assert caught.value.spent.tokens_in == 30


def test_a_refusal_never_shows_the_key(server: Server) -> None:
    server.script = [401]
    with pytest.raises(NoCandidate, match="AuthenticationError") as caught:
        ask_endpoint("m", "the prompt", server.url, 20)
    assert SECRET not in str(caught.value)


def test_a_provider_needs_a_key_and_a_local_server_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(EnvironmentFault, match="OPENAI_API_KEY is not set"):
        ask_endpoint("m", "the prompt", None, 20)
    server.script = [("the candidate", "stop")]
    assert ask_endpoint("m", "the prompt", server.url, 20).text == "the candidate"


def test_a_loop_with_an_endpoint_counts_tokens_and_leaves_the_key_in_no_file(
    server: Server, alone: Path, first: str, rooflift: Callable[..., Any], tmp_path: Path
) -> None:
    server.script = [("```python\nimport tor", "length"), (f"Here it is:\n```python\n{first}```", "stop"), 401]
    words = ["optimize", "twice", "--agent", "openai:some-model", "--base-url", server.url, "--no-gpu", "--gpu", "h100"]
    words += ["--root", alone, "--out", tmp_path / "loop", "--iterations", "1", "--stages", "memory", "--json"]
    said = rooflift(*words)
    assert said.code == 0, said.err
    kept, refused = json.loads(said.out)["iterations"]
    assert (kept["version"], kept["tokens_in"], kept["tokens_out"], kept["cost_usd"]) == ("v0_algorithm", 20, 10, 0.5)
    assert refused["at"] == "agent"
    assert "AuthenticationError" in refused["why"][0]
    assert server.keys == [f"Bearer {SECRET}"] * 3
    written = [path for path in (tmp_path / "loop").rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in written)
    assert SECRET not in said.out + said.err
