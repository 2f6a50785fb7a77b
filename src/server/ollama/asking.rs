//! What `generate` and `chat` have in common: a question is asked, and its answer told line by line or at once.

use std::time::{Duration, Instant};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::keep_alive::{Going, KeepAlive};
use super::moment::Moment;
use super::speaker::{Ending, Speaker, Times};
use crate::capability::{DescribeRequest, Prompt};
use crate::engine::{Capabilities, ModelFacts};
use crate::server::admin::{Order, carry_out};
use crate::server::api_error::ApiError;
use crate::server::app::App;
use crate::server::arrival::Arrival;
use crate::server::generation::Generation;
use crate::server::in_flight::Tracked;
use crate::server::spoken::Said;
use crate::server::sse::{self, Writer};

/// How long a stream waits for its first token before it begins: what fails before that has a status.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of which model, and how its answer is to be told.
#[derive(Debug)]
pub(super) struct Question {
    /// As the request names it.
    pub(super) model: String,
    /// Nothing: the model is only to be loaded, or unloaded.
    pub(super) request: Option<DescribeRequest>,
    pub(super) shape: Shape,
    /// The tools that may be called.
    pub(super) tools: Vec<String>,
    /// Whether thoughts are told.
    pub(super) thoughts: bool,
    /// Whether the prompt was given as it is.
    pub(super) raw: bool,
    /// Line by line.
    pub(super) stream: bool,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// Where in an answer its text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `response`.
    Generate,
    /// `message`.
    Chat,
}

/// What was said, of an answer or a piece of one.
#[derive(Debug, Default)]
struct Speech {
    text: String,
    thought: String,
    calls: Vec<Value>,
}

impl Speech {
    fn add(&mut self, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Text(text) => self.text.push_str(&text),
                Said::Thought(thought) => self.thought.push_str(&thought),
                Said::Call(call) => {
                    let arguments: Value =
                        serde_json::from_str(&call.arguments).unwrap_or(Value::String(call.arguments));
                    self.calls.push(json!({ "function": { "name": call.name, "arguments": arguments } }));
                }
            }
        }
    }

    fn of(said: Vec<Said>) -> Self {
        let mut speech = Self::default();
        speech.add(said);
        speech
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.thought.is_empty() && self.calls.is_empty()
    }
}

/// How lines of an answer look.
#[derive(Clone, Debug)]
struct Lines {
    model: String,
    shape: Shape,
    thoughts: bool,
}

impl Lines {
    /// An answer that is not done, or will be said to be.
    fn line(&self, speech: Speech) -> Map<String, Value> {
        let Speech { text, thought, calls } = speech;
        let mut line = Map::new();
        line.insert("model".to_owned(), self.model.clone().into());
        line.insert("created_at".to_owned(), Moment::now().to_string().into());
        let mut said = Map::new();
        if self.shape == Shape::Chat {
            said.insert("role".to_owned(), "assistant".into());
        }
        let name = if self.shape == Shape::Chat { "content" } else { "response" };
        said.insert(name.to_owned(), text.into());
        if self.thoughts && !thought.is_empty() {
            said.insert("thinking".to_owned(), thought.into());
        }
        if !calls.is_empty() {
            said.insert("tool_calls".to_owned(), calls.into());
        }
        match self.shape {
            Shape::Generate => line.append(&mut said),
            Shape::Chat => drop(line.insert("message".to_owned(), said.into())),
        }
        line.insert("done".to_owned(), false.into());
        line
    }

    fn last(&self, speech: Speech, ending: &Ending) -> Value {
        let mut line = self.line(speech);
        ending.tell(&mut line);
        line.into()
    }
}

/// Answers `question`.
pub(super) async fn answer(arrival: &Arrival, question: Question) -> Result<Response, ApiError> {
    let app = &arrival.app;
    let Question { model, request, shape, tools, thoughts, raw, stream, keep_alive } = question;
    let pictures = request.as_ref().is_some_and(|request| !request.images.is_empty());
    let key = app.find(Some(&model), Generation::wanted(pictures))?;
    let tracked = arrival.track(&key);
    let lines = Lines { model, shape, thoughts };
    // Who may not steer the server may not say how long it holds a model.
    let keep_alive = keep_alive.filter(|_| arrival.may_steer());
    let Some(mut request) = request else { return tracked.run(hold(app, &key, &lines, keep_alive)).await };
    if shape == Shape::Generate {
        unword(&app.engine().facts(&key), &mut request);
    }
    let going = Going::after(keep_alive, app, &key);
    let asked = async {
        let loading = loaded(app, &key, writer_of(app, &key, pictures)).await?;
        let times = Times::new(tracked.began(), loading);
        let generation = Generation::start(app, &key, request).await?;
        Ok(Speaker::new(generation.opened(PATIENCE).await?, &tools, raw, times))
    };
    let mut speaker = tracked.run(asked).await?;
    if let Some(KeepAlive::For(_)) = keep_alive {
        keep(app, &key, keep_alive).await?;
    }
    if stream {
        return Ok(sse::pieces("application/x-ndjson", None, |writer| async move {
            let _going = going;
            match tracked.run(tell(&writer, &lines, speaker, &tracked)).await {
                Ok(last) => writer.line(&last).await,
                Err(error) => writer.line(&json!({ "error": error.message })).await,
            }
        }));
    }
    let work = async {
        let mut speech = Speech::default();
        while let Some(said) = speaker.next(&tracked).await {
            speech.add(said);
        }
        let (rest, ending) = speaker.finish().await?;
        speech.add(rest);
        Ok(lines.last(speech, &ending))
    };
    Ok(Json(tracked.run(work).await?).into_response())
}

/// A prompt for a model without a template is given to it as it is, behind what the system says.
fn unword(facts: &[ModelFacts], request: &mut DescribeRequest) {
    let writes = facts.iter().find(|facts| facts.capability == Capabilities::TextToText);
    if !request.images.is_empty() || writes.is_none_or(|facts| facts.has_chat_template) {
        return;
    }
    if let Prompt::Chat(chat) = &request.generate.prompt {
        let said: Vec<_> = chat.messages.iter().map(|message| message.content.as_str()).collect();
        request.generate.prompt = Prompt::Raw(said.join("\n\n"));
    }
}

/// Writes a line for each piece, and returns the last one.
async fn tell(
    writer: &Writer,
    lines: &Lines,
    mut speaker: Speaker,
    tracked: &Tracked,
) -> Result<Value, ApiError> {
    while let Some(said) = speaker.next(tracked).await {
        let speech = Speech::of(said);
        // Of thoughts that are not told there is nothing to write.
        if !speech.is_empty() && (lines.thoughts || !speech.text.is_empty() || !speech.calls.is_empty()) {
            writer.line(&lines.line(speech)).await;
        }
    }
    let (rest, ending) = speaker.finish().await?;
    Ok(lines.last(Speech::of(rest), &ending))
}

/// What a model is asked as: it sees, or it writes.
fn writer_of(app: &App, key: &str, pictures: bool) -> Capabilities {
    let writes = !pictures && app.can(key, Capabilities::TextToText);
    if writes { Capabilities::TextToText } else { Capabilities::Vision }
}

/// Loads the model unless it is, and says how long that took.
///
/// # Errors
///
/// 504 when it takes longer than a request may.
pub(super) async fn loaded(app: &App, key: &str, capability: Capabilities) -> Result<Duration, ApiError> {
    let start = Instant::now();
    if !is_there(app, key, capability) {
        let most = app.config().request_timeout;
        let late = |_| {
            let message = format!("{key} was not loaded within {most:.1?}");
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, message).code("timeout")
        };
        timeout(most, load(app, key, capability)).await.map_err(late)??;
    }
    Ok(start.elapsed())
}

/// Loads the model, on a thread that may wait. There is a limit to those.
async fn load(app: &App, key: &str, capability: Capabilities) -> Result<(), ApiError> {
    let seat = app.seats().loads.clone().acquire_owned().await.map_err(|_| ApiError::draining())?;
    if is_there(app, key, capability) {
        return Ok(());
    }
    let (app, key) = (app.clone(), key.to_owned());
    let load = move || {
        let _seat = seat;
        carry_out(&app, &key, capability, Order::Load)
    };
    Ok(tokio::task::spawn_blocking(load).await??)
}

fn is_there(app: &App, key: &str, capability: Capabilities) -> bool {
    app.engine().pool_of(capability).has_workers(key)
}

/// Tells the pools how long a model stays.
pub(super) async fn keep(app: &App, key: &str, keep_alive: Option<KeepAlive>) -> Result<(), ApiError> {
    let Some(keep_alive) = keep_alive else { return Ok(()) };
    let (app, key) = (app.clone(), key.to_owned());
    Ok(tokio::task::spawn_blocking(move || keep_alive.apply(&app, &key)).await??)
}

/// Answers who asks nothing: loads the model, or unloads it.
async fn hold(
    app: &App,
    key: &str,
    lines: &Lines,
    keep_alive: Option<KeepAlive>,
) -> Result<Response, ApiError> {
    let goes = keep_alive == Some(KeepAlive::Unload);
    if !goes {
        loaded(app, key, writer_of(app, key, false)).await?;
    }
    keep(app, key, keep_alive).await?;
    let mut line = lines.line(Speech::default());
    line.insert("done".to_owned(), true.into());
    line.insert("done_reason".to_owned(), if goes { "unload" } else { "load" }.into());
    Ok(Json(line).into_response())
}
