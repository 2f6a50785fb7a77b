//! A server on a free port, a client, and models that do what their requests say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use millpond::capability::{
    BatchModel, Batched, Capacity, Choice, EmbedRequest, Embedding, FinishReason, GenerateRequest,
    JobContext, Model, ModelError, Outbox, Prompt, Slot, TextCompletion, TextEmbedding, TextToText, Token,
};
use millpond::memory::MemoryBudget;
use millpond::pool::{BuildWith, PoolConfig};
use millpond::server::{App, Running, Server, ServerConfig};
use millpond::{ByteSize, Engine};
use serde_json::Value;

/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The shipped models by what they do.
pub(crate) const SHIPPED: [&str; 5] =
    ["shapes-embed", "shapes-llm", "shapes-clip", "shapes-llava", "shapes-diffusion"];

/// On loopback, on any port that is free.
pub(crate) fn config() -> ServerConfig {
    ServerConfig::default().bind("127.0.0.1:0".parse().expect("it is an address"))
}

pub(crate) fn engine() -> Engine {
    Engine::builder().budget(MemoryBudget::fixed(ByteSize::gib(4))).build().expect("threads start")
}

/// An engine that knows the shipped models.
pub(crate) fn shipped_engine() -> Engine {
    let engine = engine();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny");
    for model in SHIPPED {
        let path = folder.join(model);
        engine.add(model, path.to_str().expect("the path is text")).expect("the model ships");
    }
    engine
}

/// A server that is stopped with the test.
pub(crate) struct Served {
    server: Option<Running>,
    pub(crate) address: SocketAddr,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Served {
    pub(crate) fn new(engine: Engine, config: ServerConfig) -> Self {
        let server =
            Server::bind(App::new(engine, config)).expect("a port is free").start().expect("it starts");
        let address = server.address();
        let agent = ureq::AgentBuilder::new().timeout(PATIENCE).redirects(0).build();
        Self { server: Some(server), address, agent }
    }

    /// The shipped models.
    pub(crate) fn shipped() -> Self {
        Self::new(shipped_engine(), config())
    }

    /// A model `scripted` that embeds and one that writes.
    pub(crate) fn scripted(config: ServerConfig) -> Self {
        let engine = engine();
        add_scripted(&engine);
        Self::new(engine, config)
    }

    pub(crate) fn server(&self) -> &Running {
        self.server.as_ref().expect("it runs until the test ends")
    }

    pub(crate) fn app(&self) -> &App {
        self.server().app()
    }

    /// Stops it and says how.
    pub(crate) fn stop(mut self) -> millpond::server::Stopped {
        self.server.take().expect("it runs").stop().expect("it stops")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> ureq::Request {
        self.agent.request(method, &self.url(path))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        answered(self.request("GET", path).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    pub(crate) fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = self.request("POST", path).set("content-type", "application/json");
        answered(request.send_string(body))
    }

    /// The lines of a stream, as they come.
    pub(crate) fn stream(&self, path: &str, body: &Value) -> impl Iterator<Item = String> + use<> {
        let request = self.request("POST", path).set("content-type", "application/json");
        let response = request.send_string(&body.to_string()).expect("it is accepted");
        std::io::BufRead::lines(std::io::BufReader::new(response.into_reader())).map_while(Result::ok)
    }

    /// A connection that sends `bytes` and has not read anything yet.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        // It may refuse, and close, before all of it is sent.
        let _ = stream.write_all(bytes);
        stream
    }

    /// What comes back to `bytes` until the connection is closed.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        let mut answer = Vec::new();
        let _ = self.connect(bytes).read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks again until `done`, for as long as a test has patience.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "{what} did not come true");
            std::thread::yield_now();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.ask_to_stop();
            server.ask_to_stop();
            let _ = server.stop();
        }
    }
}

pub(crate) fn answered(result: Result<ureq::Response, ureq::Error>) -> Answer {
    let response = match result {
        Ok(response) | Err(ureq::Error::Status(_, response)) => response,
        Err(ureq::Error::Transport(error)) => panic!("no answer: {error}"),
    };
    let headers = response.headers_names().into_iter();
    let headers = headers.map(|name| (name.clone(), response.header(&name).unwrap_or_default().to_owned()));
    let headers = headers.collect();
    let status = response.status();
    let mut body = String::new();
    response.into_reader().read_to_string(&mut body).expect("the answer is text");
    Answer { status, body, headers }
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Its code and the field that is wrong, of an error in OpenAI's shape.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |field: &str| body["error"][field].as_str().unwrap_or_default().to_owned();
        assert!(!text("message").is_empty() && !text("type").is_empty(), "{}", self.body);
        (self.status, text("code"), text("param"))
    }
}

/// What is wrong with a request, as the dialects tell it whose errors are a text.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    let message = answer.json()["error"].as_str().map(str::to_owned);
    message.unwrap_or_else(|| panic!("no error in this shape: {}", answer.body))
}

/// Registers [`Writer`] and [`Embedder`] under the key `scripted`. What is returned steers the writer.
pub(crate) fn add_scripted(engine: &Engine) -> Cue {
    let cue = Cue::new();
    let told = cue.clone();
    let writer = BuildWith::new(move || Writer { cue: told.clone(), texts: Vec::new() });
    engine.text_to_text().register("scripted", writer).expect("the key is free");
    let embedder = BuildWith::new(|| Batched::new(Embedder));
    engine.text_embedding().register("scripted", embedder).expect("the key is free");
    cue
}

/// A configuration that keeps one worker.
pub(crate) fn one_worker() -> PoolConfig {
    PoolConfig::default().workers(1)
}

/// Embeds nothing: four numbers, at once.
#[derive(Debug)]
pub(crate) struct Embedder;

impl BatchModel<TextEmbedding> for Embedder {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(256)
    }

    fn run(&mut self, batch: &[EmbedRequest]) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let embedding = || Embedding { values: vec![0.5, -0.5, 0.5, -0.5], tokens: 3, truncated: false };
        Ok(batch.iter().map(|_| Ok(embedding())).collect())
    }
}

/// Lets writers go on that wait for it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Cue(Sender<()>, Receiver<()>);

impl Cue {
    fn new() -> Self {
        let (sender, receiver) = unbounded();
        Self(sender, receiver)
    }

    /// Ends one text that lingers, now or when it comes.
    pub(crate) fn give(&self) {
        self.0.send(()).expect("a writer listens");
    }
}

/// Writes what the last words of its prompt say: `count 7` writes seven tokens; `linger` writes one and waits for a
/// cue; `wait` writes nothing until a cue; `panic` and `fail` do that.
#[derive(Debug)]
pub(crate) struct Writer {
    cue: Cue,
    texts: Vec<Text>,
}

#[derive(Debug)]
struct Text {
    slot: Slot,
    act: Act,
    written: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Count(u32),
    Linger,
    Wait,
    Panic,
    Fail,
}

fn act_of(request: &GenerateRequest) -> Act {
    let text = match &request.prompt {
        Prompt::Raw(text) => text.clone(),
        Prompt::Chat(chat) => chat.messages.last().map(|message| message.content.clone()).unwrap_or_default(),
        Prompt::Tokens(_) => String::new(),
    };
    let mut words = text.split_whitespace().rev();
    match (words.next(), words.next()) {
        (Some("linger"), _) => Act::Linger,
        (Some("wait"), _) => Act::Wait,
        (Some("panic"), _) => Act::Panic,
        (Some("fail"), _) => Act::Fail,
        (Some(number), Some("count")) => Act::Count(number.parse().unwrap_or(3)),
        _ => Act::Count(3),
    }
}

impl Model<TextToText> for Writer {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(64)
    }

    fn admit(&mut self, slot: Slot, request: GenerateRequest, _: &JobContext) -> Result<(), ModelError> {
        self.texts.push(Text { slot, act: act_of(&request), written: 0 });
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<TextToText>) -> Result<(), ModelError> {
        let cue = &self.cue.1;
        self.texts.retain_mut(|text| {
            let ended = match text.act {
                Act::Panic => panic!("scripted panic of a writer"),
                Act::Fail => {
                    out.fail(text.slot, ModelError::failed("scripted failure at /secret/path"));
                    return false;
                }
                Act::Count(most) => text.written >= most,
                Act::Linger if text.written == 0 => false,
                Act::Linger | Act::Wait => cue.recv_timeout(Duration::from_millis(1)).is_ok(),
            };
            if ended {
                out.finish(text.slot, completion(text.written));
                return false;
            }
            if matches!(text.act, Act::Count(_)) || (text.act == Act::Linger && text.written == 0) {
                out.event(text.slot, token(text.written));
                text.written += 1;
            }
            true
        });
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.texts.retain(|text| text.slot != slot);
    }
}

fn token(number: u32) -> Token {
    Token { choice: 0, id: number, text: format!("{number} "), logprobs: None }
}

fn completion(written: u32) -> TextCompletion {
    let choice = Choice {
        text: (0..written).map(|number| token(number).text).collect(),
        token_ids: (0..written).collect(),
        finish_reason: FinishReason::Stop,
        logprobs: Vec::new(),
    };
    TextCompletion { choices: vec![choice], prompt_token_ids: vec![1, 2], cached_prompt_tokens: 0 }
}

/// Whether this is a process for the test `name` alone. If not, one is started, and has to succeed: what is measured of
/// a process is then the test's own.
pub(crate) fn alone(name: &str) -> bool {
    const ALONE: &str = "MILLPOND_LONE_TEST";
    if std::env::var(ALONE).is_ok_and(|lone| lone == name) {
        return true;
    }
    let mut test = std::process::Command::new(std::env::current_exe().expect("this test's own file"));
    let ended = test.args(["--exact", name, "--nocapture"]).env(ALONE, name).output().expect("it starts");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    false
}

/// The test's own memory: what stays resident.
pub(crate) fn resident() -> ByteSize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("it is there");
    let pages =
        status.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("it is a number");
    ByteSize::new(pages * 4096)
}
