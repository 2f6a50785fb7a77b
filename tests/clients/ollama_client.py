"""Ollama's API as Ollama's own client speaks it: asked of MILLPOND_OPEN_URL, whose models are in MILLPOND_MODELS."""

import json
import os
from pathlib import Path

import ollama

client = ollama.Client(os.environ["MILLPOND_OPEN_URL"])
models = Path(os.environ["MILLPOND_MODELS"])
examples = models / "examples"
GREEDY = {"temperature": 0, "num_predict": 24}
SKY = "What color is the sky?"


def refused(status, call):
    try:
        result = call()
        if not isinstance(result, (dict, ollama.GenerateResponse, ollama.ChatResponse)):
            list(result)
    except ollama.ResponseError as error:
        assert error.status_code == status and error.error, error
        return error.error
    raise AssertionError("it was not refused")


# What there is.
names = {model.model for model in client.list().models}
assert names >= {"shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"}, names
assert all(model.modified_at is not None for model in client.list().models)
shown = client.show("shapes-llm")
assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"] == "llama", shown

# A prompt, at once and in a stream.
whole = client.generate("shapes-llm", SKY, options=GREEDY)
assert whole.done and whole.done_reason in ("stop", "length") and whole.response
assert whole.eval_count > 0 and whole.prompt_eval_count > 0 and whole.total_duration > whole.eval_duration > 0
pieces = list(client.generate("shapes-llm", SKY, options=GREEDY, stream=True))
assert "".join(piece.response for piece in pieces) == whole.response
assert pieces[-1].done and not any(piece.done for piece in pieces[:-1])
raw = f"<|im_start|>user\n{SKY}<|im_end|>\n<|im_start|>assistant\n"
assert client.generate("shapes-llm", raw, raw=True, options=GREEDY).response == whole.response

# A conversation, at once and in a stream, and in a form.
messages = [{"role": "user", "content": SKY}]
said = client.chat("shapes-llm:latest", messages, options=GREEDY)
assert said.message.role == "assistant" and said.message.content == whole.response
told = client.chat("shapes-llm", messages, options=GREEDY, stream=True)
assert "".join(piece.message.content for piece in told) == said.message.content
schema = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"],
          "additionalProperties": False}
formed = client.chat("shapes-llm", messages, format=schema, options={"num_predict": 200, "seed": 1})
assert json.loads(formed.message.content)["color"] in ("red", "blue"), formed
seeded = [client.generate("shapes-llm", "Tell me a story.", options={"seed": 7, "num_predict": 20}).response for _ in "ab"]
assert seeded[0] == seeded[1]

# Pictures.
red = examples / "red-circle.png"
seen = client.chat("shapes-llava", [{"role": "user", "content": "What is in the image?", "images": [red]}], options=GREEDY)
assert "red circle" in seen.message.content, seen
seen = client.generate("shapes-llava", "What is in the image?", images=[red.read_bytes()], options=GREEDY)
assert "red circle" in seen.response, seen

# Tools go in; a model that knows none answers as it does.
tool = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}
assert client.chat("shapes-llm", messages, tools=[tool], options=GREEDY).message is not None

# Embeddings.
embedded = client.embed("shapes-embed", ["a red circle", "a blue star"])
assert [len(vector) for vector in embedded.embeddings] == [128, 128]
assert abs(sum(number * number for number in embedded.embeddings[0]) - 1) < 1e-5
assert len(client.embed("shapes-embed", "a red circle").embeddings) == 1
assert len(client.embeddings("shapes-embed", "a red circle").embedding) == 128

# What is loaded, kept, and let go.
client.generate("shapes-llm", keep_alive="10m")
there = {model.model: model for model in client.ps().models}
assert there["shapes-llm"].size > 0 and there["shapes-llm"].expires_at is not None
assert client.generate("shapes-llm", keep_alive=0).done_reason == "unload"
assert "shapes-llm" not in {model.model for model in client.ps().models}

# What is wrong is told as the client understands it.
refused(404, lambda: client.generate("none", "hi"))
refused(404, lambda: client.chat("none", messages, stream=True))
refused(400, lambda: client.embed("shapes-llm", "hi"))
refused(400, lambda: client.generate("shapes-llm", "hi", suffix="there"))
refused(400, lambda: client.generate("shapes-llm", "hi", options={"temperature": -1}))
refused(400, lambda: client.pull("../../etc/passwd"))
refused(404, lambda: client.show("none"))
refused(501, lambda: client.delete("shapes-llm"))
print("ollama_client: all is as it should be")
