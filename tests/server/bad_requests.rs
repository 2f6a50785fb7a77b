//! Requests that no model should see: each is refused with the right status in the right shape, and a good one right
//! after it is served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{Answer, Served};

/// What takes a body, and a body that it takes.
fn endpoints() -> Vec<(&'static str, Value)> {
    let text = json!({ "role": "user", "content": "What color is the circle?" });
    let infer = json!([{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a red circle"] }]);
    vec![
        ("/v1/embeddings", json!({ "model": "shapes-embed", "input": "a red circle" })),
        ("/v1/chat/completions", json!({ "model": "shapes-llm", "messages": [text], "max_tokens": 2 })),
        ("/v1/completions", json!({ "model": "shapes-llm", "prompt": "The circle", "max_tokens": 2 })),
        (
            "/v1/images/generations",
            json!({ "model": "shapes-diffusion", "prompt": "a red circle", "steps": 1 }),
        ),
        ("/v2/models/shapes-embed/infer", json!({ "inputs": infer })),
        (
            "/v2/models/shapes-llm/generate",
            json!({ "text_input": "The circle", "parameters": { "max_tokens": 2 } }),
        ),
        (
            "/api/generate",
            json!({ "model": "shapes-llm", "prompt": "The circle", "stream": false, "options": { "num_predict": 2 } }),
        ),
        (
            "/api/chat",
            json!({ "model": "shapes-llm", "messages": [text], "stream": false, "options": { "num_predict": 2 } }),
        ),
        ("/api/embed", json!({ "model": "shapes-embed", "input": "a red circle" })),
        ("/api/show", json!({ "model": "shapes-embed" })),
        ("/admin/load", json!({ "model": "shapes-embed" })),
        ("/admin/unload", json!({ "model": "shapes-embed" })),
        ("/admin/pin", json!({ "model": "shapes-embed" })),
        ("/admin/unpin", json!({ "model": "shapes-embed" })),
        ("/admin/resize", json!({ "model": "shapes-embed", "workers": 1 })),
    ]
}

/// What a field may hold, and so what it may not.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Flag,
    /// A whole number, and two that are out of range.
    Count([f64; 2]),
    /// A number, and two that are out of range.
    Number([f64; 2]),
    Listed,
    Record,
}

impl Holds {
    fn wrong(self) -> Vec<Value> {
        let (text, flag, number, list, record) =
            (json!("x"), json!(true), json!(7), json!([[7]]), json!({ "x": 7 }));
        match self {
            Self::Text => vec![flag, number, list, record],
            Self::Flag => vec![text, number, list, record],
            Self::Count([low, high]) => vec![text, flag, list, record, json!(1.5), json!(low), json!(high)],
            Self::Number([low, high]) => vec![text, flag, list, record, json!(low), json!(high)],
            Self::Listed => vec![flag, number, record],
            Self::Record => vec![flag, number, list],
        }
    }
}

/// The fields of each endpoint that have one type.
fn fields() -> Vec<(&'static str, Vec<(&'static str, Holds)>)> {
    use Holds::{Count, Flag, Listed, Number, Record, Text};
    let sampling = vec![
        ("temperature", Number([-0.5, 101.0])),
        ("top_p", Number([-0.5, 1.5])),
        ("n", Count([0.0, 1e6])),
        ("max_tokens", Count([-1.0, 9e18])),
        ("presence_penalty", Number([-2.5, 2.5])),
        ("frequency_penalty", Number([-2.5, 2.5])),
        ("logit_bias", Record),
        ("stream", Flag),
        ("top_k", Count([-2.0, 1e30])),
        ("min_p", Number([-0.5, 1.5])),
    ];
    let chat = [
        ("messages", Listed),
        ("tools", Listed),
        ("logprobs", Flag),
        ("top_logprobs", Count([-1.0, 21.0])),
        ("response_format", Record),
        ("stream_options", Record),
        ("max_completion_tokens", Count([-1.0, 9e18])),
    ];
    let drawing = vec![
        ("prompt", Text),
        ("n", Count([0.0, 1e6])),
        ("size", Text),
        ("response_format", Text),
        ("steps", Count([0.0, 1e6])),
        ("guidance_scale", Number([-1.0, 1e6])),
        ("negative_prompt", Text),
        ("output_format", Text),
    ];
    vec![
        (
            "/v1/embeddings",
            vec![("model", Text), ("encoding_format", Text), ("dimensions", Count([0.0, 1e6]))],
        ),
        ("/v1/chat/completions", sampling.iter().copied().chain(chat).chain([("model", Text)]).collect()),
        ("/v1/completions", sampling.iter().copied().chain([("model", Text), ("echo", Flag)]).collect()),
        ("/v1/images/generations", drawing),
        ("/api/generate", vec![("model", Text), ("prompt", Text), ("stream", Flag), ("options", Record)]),
        ("/api/chat", vec![("model", Text), ("messages", Listed), ("stream", Flag), ("options", Record)]),
        ("/api/embed", vec![("model", Text), ("dimensions", Count([0.0, 1e6]))]),
        ("/admin/load", vec![("model", Text), ("capability", Text)]),
        ("/admin/resize", vec![("workers", Count([0.0, 1e6]))]),
    ]
}

/// An endpoint, one of its fields, and values that it may not have.
type Row = (&'static str, &'static str, Vec<Value>);

/// What is wrong in ways of its own.
fn odd() -> Vec<Row> {
    [embeddings(), messages(), chats(), forms(), completions(), drawings(), inference(), ollama(), orders()]
        .concat()
}

/// Each element of a list.
fn each(values: Value) -> Vec<Value> {
    let Value::Array(values) = values else { panic!("{values} is no list") };
    values
}

/// What a user says.
fn said(content: &Value) -> Value {
    json!([{ "role": "user", "content": content }])
}

fn embeddings() -> Vec<Row> {
    const PATH: &str = "/v1/embeddings";
    let mut inputs = each(json!([
        null,
        "",
        [],
        [""],
        7,
        {},
        [[]],
        [1.5],
        [-1],
        [4_294_967_296_u64],
        [4_000_000_000_u32],
        [["x"]],
        ["a", 1],
        [null],
        [[[1]]],
        true
    ]));
    inputs.push(json!(vec!["a"; 2_049]));
    vec![
        (PATH, "input", inputs),
        (PATH, "encoding_format", each(json!(["hex", ""]))),
        (PATH, "model", each(json!(["shapes-llm"]))),
    ]
}

fn messages() -> Vec<Row> {
    const PATH: &str = "/v1/chat/completions";
    let mut wrong = each(json!([
        null, [], "x", [7], [{}], [{ "role": "user" }], [{ "role": "robot", "content": "x" }],
        [{ "role": 7, "content": "x" }], [{ "role": "tool", "content": 7, "tool_call_id": "x" }],
        [{ "role": "assistant", "tool_calls": [{ "id": 7 }] }]
    ]));
    let contents = each(json!([
        7, [7], [{ "type": "song", "song": "x" }], [{ "type": "text" }], [{ "type": "text", "text": 7 }],
        [{ "type": "image_url" }]
    ]));
    wrong.extend(contents.iter().map(said));
    let urls = ["data:image/png;base64,AAAA", "http://127.0.0.1/x.png", ""];
    wrong.extend(urls.map(|url| said(&json!([{ "type": "image_url", "image_url": { "url": url } }]))));
    vec![(PATH, "messages", wrong)]
}

fn chats() -> Vec<Row> {
    const PATH: &str = "/v1/chat/completions";
    let mut stops = each(json!([7, [7], [""], {}]));
    stops.push(json!(vec!["x"; 17]));
    let biases = json!([{ "x": 1 }, { "1": "x" }, { "1": 101 }, { "999999999": 1 }, { "-1": 1 }]);
    let tools = json!([
        [7], [{}], [{ "type": "x" }], [{ "type": "function" }], [{ "type": "function", "function": {} }]
    ]);
    let choices = json!(["perhaps", 7, "required", { "type": "function", "function": { "name": "none" } }]);
    vec![
        (PATH, "stop", stops),
        (PATH, "logit_bias", each(biases)),
        (PATH, "tools", each(tools)),
        (PATH, "tool_choice", each(choices)),
        (PATH, "top_logprobs", each(json!([2]))),
        (PATH, "stream_options", each(json!([{ "include_usage": true }]))),
        (PATH, "seed", each(json!(["x", 1.5, []]))),
        (PATH, "model", each(json!(["shapes-embed", "shapes-diffusion"]))),
        (PATH, "chat_template_kwargs", each(json!([7, { "messages": [] }]))),
    ]
}

fn forms() -> Vec<Row> {
    let mut wrong = each(json!([{}, { "type": "xml" }, { "type": "json_schema" }, { "type": 7 }]));
    let schemas = json!([
        { "type": "unheard" }, { "$ref": "https://evil.example/s" }, { "type": "string", "pattern": "(" }
    ]);
    let named = |schema| json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    wrong.extend(each(schemas).into_iter().map(named));
    vec![("/v1/chat/completions", "response_format", wrong)]
}

fn completions() -> Vec<Row> {
    const PATH: &str = "/v1/completions";
    let prompts = json!([
        null, [], 7, {}, [1.5], [-1], [4_000_000_000_u32], [["x"]], ["a", 1], [{ "image": "data:image/png;base64,AA" }]
    ]);
    vec![
        (PATH, "prompt", each(prompts)),
        (PATH, "suffix", each(json!(["after"]))),
        (PATH, "logprobs", each(json!([-1, 21, "x", 1.5]))),
        (PATH, "best_of", each(json!([7, "x"]))),
    ]
}

fn drawings() -> Vec<Row> {
    const PATH: &str = "/v1/images/generations";
    let sizes =
        json!(["0x0", "1x1000000000", "7x7", "64", "x", "-8x8", "64x64x64", "99999999999999999999x8"]);
    vec![
        (PATH, "prompt", vec![json!(null), json!("x".repeat(65 << 10))]),
        (PATH, "size", each(sizes)),
        (PATH, "response_format", each(json!(["url", "gif"]))),
        (PATH, "seed", each(json!([1.5, "x", 1e30]))),
        (PATH, "output_format", each(json!(["tiff"]))),
        (PATH, "model", each(json!(["shapes-llm"]))),
    ]
}

fn inference() -> Vec<Row> {
    const INFER: &str = "/v2/models/shapes-embed/infer";
    const GENERATE: &str = "/v2/models/shapes-llm/generate";
    let outputs =
        json!([7, [7], [{}], [{ "name": "other" }], [{ "name": "embedding" }, { "name": "embedding" }]]);
    let parameters = json!([7, { "max_tokens": -1 }, { "temperature": -1 }, { "max_tokens": "x" }]);
    vec![
        (INFER, "inputs", infer_inputs()),
        (INFER, "outputs", each(outputs)),
        (INFER, "parameters", each(json!([7, []]))),
        (GENERATE, "text_input", each(json!([null, 7, [], {}]))),
        (GENERATE, "parameters", each(parameters)),
    ]
}

fn ollama() -> Vec<Row> {
    let options = json!([
        { "temperature": -1 }, { "num_predict": "x" }, { "top_p": 2 }, { "stop": 7 }, { "temperature": 1e9 }
    ]);
    let mut messages = each(json!([
        [7], [{}], [{ "role": "robot", "content": "x" }], [{ "role": "user", "content": "x", "images": ["%"] }]
    ]));
    messages.push(said(&json!(7)));
    vec![
        ("/api/generate", "format", each(json!(["xml", 7, { "type": "unheard" }]))),
        ("/api/generate", "images", each(json!([7, [7], ["%"], ["AAAA"]]))),
        ("/api/generate", "options", each(options)),
        ("/api/generate", "keep_alive", each(json!(["soon", [], {}]))),
        ("/api/chat", "messages", messages),
        ("/api/embed", "input", each(json!([null, 7, [7], {}]))),
        ("/api/show", "model", each(json!([7, []]))),
    ]
}

fn orders() -> Vec<Row> {
    vec![
        ("/admin/load", "capability", each(json!(["telepathy", "text-to-image"]))),
        ("/admin/load", "surplus", each(json!([1]))),
    ]
}

fn infer_inputs() -> Vec<Value> {
    let input = |shape: Value, datatype: &str, data: Value| json!([{ "name": "text", "datatype": datatype, "shape": shape, "data": data }]);
    let one = json!(["a"]);
    vec![
        json!(null),
        json!([]),
        json!(7),
        json!([7]),
        json!([{}]),
        json!([{ "name": "text" }]),
        input(json!([-1]), "BYTES", one.clone()),
        input(json!([2]), "BYTES", one.clone()),
        input(json!([0]), "BYTES", json!([])),
        input(json!([4_294_967_296_u64, 4_294_967_296_u64]), "BYTES", one.clone()),
        input(json!(["x"]), "BYTES", one.clone()),
        input(json!([1.5]), "BYTES", one.clone()),
        input(json!([1]), "FP32", one.clone()),
        input(json!([1]), "FP32", json!([1.0])),
        input(json!([1]), "UNHEARD", one.clone()),
        input(json!([1]), "BYTES", json!([7])),
        input(json!([1]), "BYTES", json!({})),
        input(json!([1, 1, 1]), "BYTES", one.clone()),
        json!([{ "name": "other", "datatype": "BYTES", "shape": [1], "data": ["a"] }]),
        json!([{ "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"] }, { "name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"] }]),
        json!([{ "name": "text", "datatype": "BYTES", "shape": [1], "parameters": { "binary_data_size": 5 } }]),
        json!([{ "name": 7, "datatype": "BYTES", "shape": [1], "data": ["a"] }]),
    ]
}

/// What is no request at all, whatever takes it.
const NO_REQUEST: [&str; 9] = [
    "",
    "nonsense",
    "7",
    "\"x\"",
    "[]",
    "{",
    "{\"model\": \"x\"} trailing",
    "{\"model\": \"\u{1}\"}",
    "{\"model\": \"x\", \"model\": \"y\"}",
];

struct Table {
    served: Served,
    cases: usize,
    wrong: Vec<String>,
}

impl Table {
    fn good(&self) -> Answer {
        self.served.post("/v1/embeddings", &json!({ "model": "shapes-embed", "input": "a red circle" }))
    }

    /// The request is refused with `status`, and the next is served.
    fn expect(&mut self, path: &str, answer: &Answer, status: u16, about: &str) {
        self.cases += 1;
        let about: String = about.chars().take(400).collect();
        let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let told = if path.starts_with("/v2") || path.starts_with("/api") {
            body["error"].as_str().is_some_and(|text| !text.is_empty())
        } else {
            let error = &body["error"];
            ["message", "type"].iter().all(|field| error[field].as_str().is_some_and(|text| !text.is_empty()))
        };
        if answer.status != status || !told {
            let said: String = answer.body.chars().take(300).collect();
            self.wrong.push(format!("{path} {about}: {} instead of {status}: {said}", answer.status));
        }
        let good = self.good();
        assert_eq!(good.status, 200, "after {path} {about}: {}", good.body);
    }

    fn refuse(&mut self, path: &str, body: &Value, status: u16) {
        let answer = self.served.post(path, body);
        self.expect(path, &answer, status, &body.to_string());
    }
}

#[test]
fn each_is_refused_in_its_shape_and_the_next_is_served() {
    let mut table = Table { served: Served::shipped(), cases: 0, wrong: Vec::new() };
    table.good().ok();
    let bases = endpoints();
    let base = |path: &str| bases.iter().find(|(known, _)| *known == path).expect("it is listed").1.clone();
    for (path, good) in &bases {
        let answer = table.served.post(path, good);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        for body in NO_REQUEST {
            let answer = table.served.post_text(path, body);
            table.expect(path, &answer, 400, body);
        }
        let answer = super::support::answered(table.served.request("GET", path).call());
        table.expect(path, &answer, 405, "GET");
        if good.get("model").is_some() {
            let mut unknown = good.clone();
            for name in ["no-such-model", "../../etc/passwd", "shapes-embed\u{0}", "<img src=x>"] {
                unknown["model"] = json!(name);
                table.refuse(path, &unknown, 404);
            }
        }
    }
    for path in
        ["/nothing", "/v1/nothing", "/v2/nothing", "/api/nothing", "/v2/models/none/infer", "/v1/models/none"]
    {
        let answer = table.served.get(path);
        let status = if path.ends_with("none/infer") { 405 } else { 404 };
        table.expect(path, &answer, status, "nothing");
    }
    for (path, fields) in fields() {
        for (field, holds) in fields {
            for wrong in holds.wrong() {
                let mut body = base(path);
                body[field] = wrong;
                table.refuse(path, &body, 400);
            }
        }
    }
    for (path, field, values) in odd() {
        for wrong in values {
            let mut body = base(path);
            body[field] = wrong;
            table.refuse(path, &body, 400);
        }
    }
    assert!(table.wrong.is_empty(), "{} of {}:\n{}", table.wrong.len(), table.cases, table.wrong.join("\n"));
    assert!(table.cases >= 400, "{} cases", table.cases);
    leaves_nothing(&table.served);
}

/// Nothing is under way, waits or is reserved but for what is loaded.
fn leaves_nothing(served: &Served) {
    served.until("nothing is under way", |served| served.app().in_flight().is_empty());
    let status = served.app().engine().status();
    let busy = status.pools.iter().map(|pool| pool.in_flight + pool.queue_depth).sum::<usize>();
    let held: BTreeSet<_> = status.memory.holders.iter().map(|holder| holder.label.to_string()).collect();
    assert_eq!(busy, 0, "{held:?}");
    let loaded = status.pools.iter().map(|pool| pool.memory.bytes()).sum::<u64>();
    assert_eq!(status.memory.reserved.bytes(), loaded, "{held:?}");
}
