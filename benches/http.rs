//! What HTTP costs: embeddings with a model that does nothing, and the time to a stream's first token, through a
//! socket and straight from the pool, in turn.
//!
//! The load generator is here too, on the same cores: blocking clients that keep their connections, each of which
//! waits for its answer before it asks again.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use criterion::Criterion;
use millpond::Engine;
use millpond::capability::{
    BatchModel, Batched, Capacity, Chat, Choice, EmbedRequest, Embedding, FinishReason, GenerateRequest,
    JobContext, Message, Model, ModelError, Outbox, Slot, TextCompletion, TextEmbedding, TextToText, Token,
};
use millpond::pool::{BuildWith, PoolConfig};
use millpond::server::{App, Running, Server, ServerConfig};

use support::{in_turn, median, print_beside, quick};

const EMBED: &str =
    r#"{"model":"nothing","input":"Where is the nearest station?","encoding_format":"base64"}"#;
const CHAT: &str = r#"{"model":"nothing","stream":true,"messages":[{"role":"user","content":"Well?"}]}"#;

/// As many numbers as a small embedding model gives, at once.
struct Nothing;

impl BatchModel<TextEmbedding> for Nothing {
    fn capacity(&self) -> Capacity {
        Capacity::jobs(256)
    }

    fn run(&mut self, batch: &[EmbedRequest]) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let embedding = || Embedding { values: vec![0.05; 384], tokens: 8, truncated: false };
        Ok(batch.iter().map(|_| Ok(embedding())).collect())
    }
}

/// Writes one token and ends.
#[derive(Default)]
struct OneToken(Vec<Slot>);

impl Model<TextToText> for OneToken {
    fn admit(&mut self, slot: Slot, _: GenerateRequest, _: &JobContext) -> Result<(), ModelError> {
        self.0.push(slot);
        Ok(())
    }

    fn step(&mut self, out: &mut Outbox<TextToText>) -> Result<(), ModelError> {
        for slot in self.0.drain(..) {
            out.event(slot, Token { choice: 0, id: 1, text: "Well.".to_owned(), logprobs: None });
            let finish_reason = FinishReason::Stop;
            let choice =
                Choice { text: "Well.".to_owned(), token_ids: vec![1], finish_reason, logprobs: Vec::new() };
            let (choices, prompt_token_ids) = (vec![choice], vec![1, 2, 3]);
            out.finish(slot, TextCompletion { choices, prompt_token_ids, cached_prompt_tokens: 0 });
        }
        Ok(())
    }

    fn cancel(&mut self, slot: Slot) {
        self.0.retain(|known| *known != slot);
    }
}

fn serve() -> Running {
    let engine = Engine::builder().config(PoolConfig::default().workers(1)).build().expect("threads start");
    let nothing = BuildWith::new(|| Batched::new(Nothing));
    engine.text_embedding().register("nothing", nothing).expect("the key is free");
    engine.text_to_text().register("nothing", BuildWith::new(OneToken::default)).expect("the key is free");
    engine.text_embedding().preload("nothing").expect("it loads");
    engine.text_to_text().preload("nothing").expect("it loads");
    let config = ServerConfig::default().bind("127.0.0.1:0".parse().expect("it is an address"));
    Server::bind(App::new(engine, config)).expect("a port is free").start().expect("it starts")
}

/// A connection that asks again and again.
struct Client {
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, path: &str, body: &str) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nodelay(true).expect("it can be set");
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
        Self { reader: BufReader::new(stream), request, body: Vec::new() }
    }

    fn ask(&mut self) {
        self.reader.get_mut().write_all(&self.request).expect("it is read");
    }

    /// Reads an answer's head; how long its body is, unless it comes in pieces.
    fn head(&mut self) -> Option<usize> {
        let (mut line, mut length) = (String::new(), None);
        self.reader.read_line(&mut line).expect("it answers");
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("it answers");
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", bytes)) => length = bytes.parse().ok(),
                Some(_) => {}
                None => return length,
            }
        }
    }

    fn answer(&mut self) {
        self.ask();
        let length = self.head().expect("the length is told");
        self.body.resize(length, 0);
        self.reader.read_exact(&mut self.body).expect("it answers");
    }

    /// How long until the first token is there; the rest of the stream is read as well.
    fn first_token(&mut self) -> Duration {
        let began = Instant::now();
        self.ask();
        assert_eq!(self.head(), None, "a stream comes in pieces");
        let (mut line, mut first) = (String::new(), None);
        loop {
            line.clear();
            self.reader.read_line(&mut line).expect("it answers");
            if first.is_none() && line.contains("Well.") {
                first = Some(began.elapsed());
            }
            if line.trim_end() == "0" {
                self.reader.read_line(&mut line).expect("it answers");
                return first.expect("there was a token");
            }
        }
    }
}

/// Embeddings a second over `connections`, for `time`.
fn rate(address: SocketAddr, connections: usize, time: Duration) -> f64 {
    let began = Instant::now();
    let counts = std::thread::scope(|scope| {
        let client = || {
            let mut client = Client::new(address, "/v1/embeddings", EMBED);
            let mut answers = 0u32;
            while began.elapsed() < time {
                client.answer();
                answers += 1;
            }
            answers
        };
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("it asks")).sum::<u32>()
    });
    f64::from(counts) / began.elapsed().as_secs_f64()
}

/// Embeddings a second straight from the pool, with as many callers.
fn direct_rate(server: &Running, callers: usize, time: Duration) -> f64 {
    let (began, engine) = (Instant::now(), server.app().engine());
    let counts = std::thread::scope(|scope| {
        let caller = || {
            let mut answers = 0u32;
            while began.elapsed() < time {
                engine.embed("nothing", "Where is the nearest station?").expect("it answers");
                answers += 1;
            }
            answers
        };
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().map(|caller| caller.join().expect("it asks")).sum::<u32>()
    });
    f64::from(counts) / began.elapsed().as_secs_f64()
}

fn direct_first_token(server: &Running) -> Duration {
    let began = Instant::now();
    let request = GenerateRequest::new(Chat::new(vec![Message::user("Well?")]));
    let mut ticket = server.app().engine().text_to_text().submit("nothing", request).expect("it is accepted");
    ticket.next_event().expect("there is a token");
    let first = began.elapsed();
    ticket.wait().expect("it answers");
    first
}

/// In microseconds.
fn middle(times: impl Iterator<Item = Duration>) -> f64 {
    median(times.map(|time| time.as_secs_f64() * 1e6).collect())
}

fn main() {
    let quick = quick();
    let (rounds, time, streams) = if quick { (1, 100, 20) } else { (5, 2_000, 2_000) };
    let time = Duration::from_millis(time);
    let server = serve();
    let address = server.address();
    let names = ["from the pool", "over HTTP"];
    for connections in [1, 16, 64] {
        let mut measures: [(&str, &mut dyn FnMut() -> f64); 2] = [
            (names[0], &mut || direct_rate(&server, connections, time)),
            (names[1], &mut || rate(address, connections, time)),
        ];
        let figures = in_turn(rounds, &mut measures);
        print_beside(&format!("{connections} callers"), "embeddings a second", &names, &figures);
    }
    let mut client = Client::new(address, "/v1/chat/completions", CHAT);
    let mut measures: [(&str, &mut dyn FnMut() -> f64); 2] = [
        (names[0], &mut || middle((0..streams).map(|_| direct_first_token(&server)))),
        (names[1], &mut || middle((0..streams).map(|_| client.first_token()))),
    ];
    let figures = in_turn(rounds, &mut measures);
    print_beside("streams, median", "microseconds to the first token", &names, &figures);

    let mut criterion = Criterion::default().configure_from_args();
    let mut client = Client::new(address, "/v1/embeddings", EMBED);
    criterion.bench_function("http/embedding", |bencher| bencher.iter(|| client.answer()));
    criterion.final_summary();
}
