"""The openai package as people use it. `tests/clients/run` starts the servers and says where they are."""

import base64
import json
import math
import os
import pathlib

import openai

URL = os.environ["MILLPOND_OPEN_URL"] + "/v1"
EXAMPLES = pathlib.Path(__file__).parents[2] / "models" / "tiny" / "examples"

client = openai.OpenAI(base_url=URL, api_key="none is needed", max_retries=0, timeout=120)


def picture(name):
    encoded = base64.b64encode((EXAMPLES / f"{name}.png").read_bytes()).decode()
    return f"data:image/png;base64,{encoded}"


def refused(kind, call):
    """The error that the call raises, which must be of this kind."""
    try:
        call()
    except openai.APIError as error:
        assert type(error) is kind, f"{error!r} is no {kind.__name__}"
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def cosine(a, b):
    dot = lambda a, b: sum(x * y for x, y in zip(a, b))
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def models():
    ids = [model.id for model in client.models.list()]
    assert "shapes-llm" in ids and "shapes-embed" in ids, ids
    assert client.models.retrieve("shapes-llm").object == "model"
    error = refused(openai.NotFoundError, lambda: client.models.retrieve("org/none-such"))
    assert error.code == "model_not_found" and error.param == "model", error.body


def embeddings():
    texts = ["a red circle", "red circle", "a blue square"]
    # Silent about the encoding, the client asks for base64 and decodes it.
    silent = client.embeddings.create(model="shapes-embed", input=texts)
    plain = client.embeddings.create(model="shapes-embed", input=texts, encoding_format="float")
    vectors = [entry.embedding for entry in silent.data]
    assert [entry.index for entry in silent.data] == [0, 1, 2]
    for a, b in zip(vectors, (entry.embedding for entry in plain.data)):
        assert len(a) == len(b) > 0 and max(abs(x - y) for x, y in zip(a, b)) < 1e-6
    assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
    assert silent.usage.prompt_tokens == silent.usage.total_tokens > 0
    tokens = client.embeddings.create(model="shapes-embed", input=[[5, 6, 7], [8, 9]])
    assert len(tokens.data) == 2 and tokens.usage.prompt_tokens == 5
    error = refused(
        openai.BadRequestError,
        lambda: client.embeddings.create(model="shapes-embed", input="a", dimensions=100_000),
    )
    assert error.param == "dimensions", error.body
    refused(openai.NotFoundError, lambda: client.embeddings.create(model="none-such", input="a"))
    refused(openai.BadRequestError, lambda: client.embeddings.create(model="shapes-embed", input=[]))


def chat():
    ask = dict(model="shapes-llm", messages=[{"role": "user", "content": "Hello!"}], temperature=0)
    whole = client.chat.completions.create(**ask, max_tokens=40)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.message.content and choice.finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens

    text, reason, usage = "", None, None
    stream = client.chat.completions.create(
        **ask, max_tokens=40, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for piece in chunk.choices:
            text += piece.delta.content or ""
            reason = piece.finish_reason or reason
    assert (text, reason) == (choice.message.content, "stop")
    assert usage.completion_tokens == whole.usage.completion_tokens

    several = client.chat.completions.create(**{**ask, "temperature": 1}, max_tokens=20, n=3, seed=5)
    again = client.chat.completions.create(**{**ask, "temperature": 1}, max_tokens=20, n=3, seed=5)
    said = lambda answer: [choice.message.content for choice in answer.choices]
    assert len(said(several)) == 3 and said(several) == said(again)

    likely = client.chat.completions.create(**ask, max_tokens=5, logprobs=True, top_logprobs=2)
    for token in likely.choices[0].logprobs.content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 2
        assert token.token == token.top_logprobs[0].token

    error = refused(openai.BadRequestError, lambda: client.chat.completions.create(**ask, top_p=2))
    assert error.param == "top_p" and error.type == "invalid_request_error", error.body
    refused(openai.BadRequestError, lambda: client.chat.completions.create(model="shapes-embed", messages=ask["messages"]))


def forms_and_tools():
    shape = {"type": "string", "enum": ["circle", "square"]}
    schema = {"type": "object", "properties": {"shape": shape}, "required": ["shape"], "additionalProperties": False}
    ask = dict(model="shapes-llm", messages=[{"role": "user", "content": "Draw a circle."}], max_tokens=60)
    form = {"type": "json_schema", "json_schema": {"name": "drawing", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(**ask, response_format=form)
    assert json.loads(answer.choices[0].message.content)["shape"] in shape["enum"]

    tools = [{"type": "function", "function": {"name": "draw", "description": "Draws.", "parameters": schema}}]
    answer = client.chat.completions.create(**ask, tools=tools, tool_choice="required")
    choice = answer.choices[0]
    call = choice.message.tool_calls[0]
    assert choice.finish_reason == "tool_calls" and call.function.name == "draw" and call.id
    assert json.loads(call.function.arguments)["shape"] in shape["enum"]

    # The client puts the pieces of a stream together itself.
    with client.chat.completions.stream(**ask, tools=tools, tool_choice="required") as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert call.function.name == "draw" and json.loads(call.function.arguments)["shape"] in shape["enum"]
    history = ask["messages"] + [
        final.choices[0].message.model_dump(include={"role", "content", "tool_calls"}),
        {"role": "tool", "tool_call_id": call.id, "content": "It is drawn."},
    ]
    answer = client.chat.completions.create(**{**ask, "messages": history}, tools=tools)
    assert answer.choices[0].finish_reason in ("stop", "length", "tool_calls")


def pictures_in_messages():
    parts = [
        {"type": "text", "text": "What shape is it?"},
        {"type": "image_url", "image_url": {"url": picture("red-circle")}},
    ]
    ask = dict(model="shapes-llava", temperature=0, max_tokens=30)
    answer = client.chat.completions.create(**ask, messages=[{"role": "user", "content": parts}])
    assert "circle" in answer.choices[0].message.content.lower(), answer.choices[0].message.content
    parts[1]["image_url"]["url"] = "http://127.0.0.1/secret.png"
    error = refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(**ask, messages=[{"role": "user", "content": parts}]),
    )
    assert "data:" in error.message, error.body


def completions():
    ask = dict(model="shapes-llm", prompt="Once upon a time", temperature=0, max_tokens=12)
    whole = client.completions.create(**ask)
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(**ask, stream=True))
    assert whole.choices[0].text == streamed != ""
    likely = client.completions.create(**ask, logprobs=2)
    assert "".join(likely.choices[0].logprobs.tokens) == whole.choices[0].text
    echoed = client.completions.create(**{**ask, "prompt": ["A", "B"]}, echo=True)
    assert [choice.text[0] for choice in echoed.choices] == ["A", "B"]


def drawings():
    ask = dict(model="shapes-diffusion", prompt="a red circle on a white background", size="auto")
    ours = {"seed": 3, "steps": 4}
    answer = client.images.generate(**ask, n=2, extra_body=ours)
    files = [base64.b64decode(image.b64_json, validate=True) for image in answer.data]
    assert len(files) == 2 and all(file.startswith(b"\x89PNG\r\n\x1a\n") for file in files)
    jpeg = client.images.generate(**ask, output_format="jpeg", extra_body=ours)
    assert base64.b64decode(jpeg.data[0].b64_json).startswith(b"\xff\xd8\xff")
    events = [event for event in client.images.generate(**ask, stream=True, partial_images=1, extra_body=ours)]
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert base64.b64decode(events[-1].b64_json) == base64.b64decode(
        client.images.generate(**ask, extra_body=ours).data[0].b64_json
    )
    error = refused(openai.BadRequestError, lambda: client.images.generate(**ask, response_format="url"))
    assert error.param == "response_format", error.body


def keys():
    url, key = os.environ["MILLPOND_GUARDED_URL"] + "/v1", os.environ["MILLPOND_GUARDED_KEY"]
    guarded = lambda key: openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=120)
    assert guarded(key).models.list().data
    refused(openai.AuthenticationError, lambda: guarded(key[:-1]).models.list())
    refused(openai.AuthenticationError, lambda: guarded("x").embeddings.create(model="shapes-embed", input="a"))


for check in [models, embeddings, chat, forms_and_tools, pictures_in_messages, completions, drawings, keys]:
    check()
    print("ok", check.__name__)
