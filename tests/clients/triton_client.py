"""The Open Inference Protocol as Triton's own client speaks it: asked of MILLPOND_OPEN_URL, whose models are in MILLPOND_MODELS."""

import os
from pathlib import Path

import numpy as np
import tritonclient.http as http
from PIL import Image
from tritonclient.utils import InferenceServerException

url = os.environ["MILLPOND_OPEN_URL"].rstrip("/").removeprefix("http://")
models = Path(os.environ["MILLPOND_MODELS"])
examples = models / "examples"
client = http.InferenceServerClient(url)


def texts(name, values, binary):
    tensor = http.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(np.array([value.encode() if isinstance(value, str) else value for value in values],
                                        dtype=object), binary_data=binary)
    return tensor


def number(name, datatype, value, binary):
    tensor = http.InferInput(name, [1], datatype)
    tensor.set_data_from_numpy(np.array([value], dtype={"INT32": np.int32, "FP32": np.float32}[datatype]), binary_data=binary)
    return tensor


def infer(model, inputs, output, binary=True, **more):
    wanted = http.InferRequestedOutput(output, binary_data=binary)
    return client.infer(model, inputs, outputs=[wanted], **more).as_numpy(output)


def refused(status, call):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == str(status) and error.message(), error
        return error.message()
    raise AssertionError("it was not refused")


# The server and its models.
assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata()["name"] == "millpond"
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
names = {model["name"] for model in client.get_model_repository_index()}
assert names >= {"shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"}, names
for name in names:
    assert client.is_model_ready(name) and client.is_model_ready(name, "1")
    metadata, config = client.get_model_metadata(name), client.get_model_config(name)
    assert metadata["name"] == name == config["name"]
    assert [tensor["name"] for tensor in metadata["inputs"]] == [tensor["name"] for tensor in config["input"]]
assert client.get_model_metadata("shapes-embed")["outputs"][0]["shape"] == [-1, 128]

# Loading and unloading.
state = lambda name: {model["name"]: model["state"] for model in client.get_model_repository_index()}[name]
client.load_model("shapes-embed")
assert state("shapes-embed") == "READY"
client.unload_model("shapes-embed")
assert state("shapes-embed") == "UNAVAILABLE"

# Each capability, in JSON and in bytes.
red = (examples / "red-circle.png").read_bytes()
pixels = np.asarray(Image.open(examples / "red-circle.png").convert("RGB"), dtype=np.uint8)
by_way = {}
for binary in (True, False):
    embedded = infer("shapes-embed", [texts("text", ["a red circle", "a blue star"], binary)], "embedding", binary)
    assert embedded.shape == (2, 128) and embedded.dtype == np.float32

    limit = number("max_tokens", "INT32", 8, binary)
    written = infer("shapes-llm", [texts("text_input", ["The circle is"] * 2, binary), limit], "text_output", binary)
    assert written.shape == (2,) and written[0] == written[1]

    image = http.InferInput("image", list(pixels.shape), "UINT8")
    image.set_data_from_numpy(pixels, binary_data=binary)
    seen = infer("shapes-clip", [image], "embedding", binary)
    assert seen.shape[0] == 1

    question = texts("text_input", ["What is in the image?"], binary)
    described = infer("shapes-llava", [image, question], "text_output", binary)[0]
    described = described.decode() if isinstance(described, bytes) else described
    assert "red circle" in described, described

    drawn = infer("shapes-diffusion", [texts("prompt", ["a red circle"], binary)], "image", binary,
                  parameters={"steps": 2, "seed": 7})
    assert drawn.shape == (1, 64, 64, 3) and drawn.dtype == np.uint8
    by_way[binary] = (embedded, described, seen, drawn)
for in_bytes, in_json in zip(by_way[True], by_way[False]):
    assert np.array_equal(in_bytes, in_json) if isinstance(in_bytes, np.ndarray) else in_bytes == in_json

# A picture as it is encoded is the picture as pixels.
encoded = infer("shapes-clip", [texts("image", [red], True)], "embedding")
assert np.allclose(encoded, by_way[True][2], atol=1e-6)

# Without outputs all come; an id comes back; times and priorities are taken.
answer = client.infer("shapes-embed", [texts("text", ["a"], True)], request_id="mine", priority=1, timeout=30_000_000)
assert answer.get_response()["id"] == "mine" and answer.as_numpy("embedding").shape == (1, 128)
stats = client.get_inference_statistics("shapes-embed")["model_stats"][0]
assert stats["inference_count"] >= 5, stats

# What is wrong is told as the client understands it.
refused(404, lambda: client.get_model_metadata("none"))
assert not client.is_model_ready("none")
refused(404, lambda: client.infer("none", [texts("text", ["a"], True)]))
refused(400, lambda: client.infer("shapes-embed", [texts("words", ["a"], True)]))
refused(400, lambda: infer("shapes-embed", [texts("text", ["a"], True)], "vector"))
refused(400, lambda: client.infer("shapes-clip", [texts("image", [b"no picture"], True)]))
refused(400, lambda: client.infer("shapes-llm", [texts("text_input", ["a"], True), number("temperature", "FP32", -1, True)]))
refused(400, lambda: client.load_model("shapes-embed", config="{}"))
refused(404, lambda: client.unload_model("none"))
client.close()
print("triton_client: all is as it should be")
