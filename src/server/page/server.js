// Talking to the server that this page came from.

const KEPT = "millpond-api-key";

export const apiKey = {
  get: () => sessionStorage.getItem(KEPT) ?? "",
  set: (key) => (key ? sessionStorage.setItem(KEPT, key) : sessionStorage.removeItem(KEPT)),
};

/// What the server said no to, in words for the reader.
export class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/// A response that is no error. `body`, if there is one, goes as JSON; `id` names the request.
export async function ask(path, { body, signal, method, id } = {}) {
  const headers = id ? { "x-request-id": id } : {};
  if (apiKey.get()) headers.authorization = `Bearer ${apiKey.get()}`;
  const options = { headers, signal, method: method ?? (body === undefined ? "GET" : "POST"), cache: "no-store" };
  if (body !== undefined) {
    headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const retryAfter = Number(response.headers.get("retry-after")) || null;
  const body = await response.json().catch(() => null);
  const told = body?.error?.message ?? body?.error ?? `The server answered ${response.status}.`;
  if (response.status === 401) document.dispatchEvent(new CustomEvent("key-wanted"));
  return new Refused(response.status, `${told}${advice(response.status, retryAfter)}`, retryAfter);
}

function advice(status, retryAfter) {
  if (status === 401) return " Enter an API key at the top of the page.";
  if (status === 413) return " Send less at once.";
  if (status === 429 || status === 503) {
    return retryAfter ? ` Try again in ${retryAfter} s.` : " Try again in a moment.";
  }
  return "";
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/// The data of each server-sent event, as text, until the stream ends.
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const lines = block.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/// The pieces of a streamed answer, until it says that it is done. An error in its middle is thrown.
export async function* piecesOf(path, { body, signal, id }) {
  const response = await ask(path, { body: { ...body, stream: true }, signal, id });
  for await (const data of eventsOf(response)) {
    if (data === "[DONE]") return;
    const piece = JSON.parse(data);
    if (piece.error) throw new Refused(response.status, piece.error.message ?? String(piece.error));
    yield piece;
  }
}
