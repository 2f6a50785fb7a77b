//! Speaking to a server.

use std::io::Read;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{Agent, AgentBuilder, Error, Request, Response};

use super::failure::Failure;
use super::settings::{SettingArgs, Settings};
use crate::id::ByteSize;

/// How long a server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an answer may take that the server has at hand.
const AT_HAND: Duration = Duration::from_secs(30);

/// How long one may take that has to be worked out, queueing and loading included.
const WORKED_OUT: Duration = Duration::from_hours(1);

/// No answer that is read as a whole is longer.
const LONGEST: ByteSize = ByteSize::mib(64);

/// Which server, and how to be let in.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ClientArgs {
    /// Where the server is. Default: where `millpond serve` would listen, as the settings here say.
    #[arg(long, value_name = "URL", env = "MILLPOND_URL")]
    url: Option<String>,
    /// The API key, where the server wants one.
    #[arg(long, value_name = "KEY", env = "MILLPOND_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

/// A server to speak to. Nothing is sent before something is asked.
#[derive(Clone)]
pub(super) struct Client {
    agent: Agent,
    url: String,
    key: Option<String>,
}

/// How a server says that it did not do what it was asked.
#[derive(Deserialize)]
struct Refusal {
    error: Message,
}

#[derive(Deserialize)]
struct Message {
    message: String,
}

impl ClientArgs {
    /// As if the user had said this.
    pub(super) fn at(url: String, api_key: Option<String>) -> Self {
        Self { url: Some(url), api_key }
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        let settings = match (&self.url, &self.api_key) {
            (Some(_), Some(_)) => None,
            // What is wrong with a file does not concern those who name the server themselves.
            (Some(_), None) => Settings::load(&SettingArgs::default()).ok(),
            (None, _) => Some(Settings::load(&SettingArgs::default())?),
        };
        let url = match (&self.url, &settings) {
            (Some(url), _) => spelled_out(url),
            (None, Some(settings)) => url_of(settings),
            (None, None) => String::new(),
        };
        let mut said = self.api_key.iter().flat_map(|keys| keys.split(',')).map(str::trim);
        let said = said.find(|key| !key.is_empty()).map(str::to_owned);
        // A key of the settings here is for the server that they describe.
        let ours = || settings.as_ref().filter(|settings| url == url_of(settings))?.first_key();
        Ok(Client { agent: agent(), key: said.or_else(ours), url })
    }

    /// The server that was named, if one was.
    pub(super) fn named(&self) -> Option<&str> {
        self.url.as_deref()
    }
}

/// The URL with its scheme and without a slash at its end.
fn spelled_out(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

fn agent() -> Agent {
    let agent = AgentBuilder::new().timeout_connect(PATIENCE).redirects(0).max_idle_connections_per_host(256);
    agent.user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION"))).build()
}

/// Where a server with these settings is to be found from here.
fn url_of(settings: &Settings) -> String {
    let mut address = settings.address();
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().expect("it is an address"));
    }
    format!("http://{address}")
}

impl Client {
    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What the server has at `path`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.request("GET", path).timeout(AT_HAND);
        self.read(request.call().map_err(|error| self.failed(error))?)
    }

    /// The answer to a question that may go on for ever.
    pub(super) fn open(&self, path: &str) -> Result<Response, Failure> {
        self.request("GET", path).call().map_err(|error| self.failed(error))
    }

    /// What the server answers to `body`.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.read(self.sent(self.request("POST", path).timeout(WORKED_OUT), body)?)
    }

    /// As [`post`](Self::post), with an answer that is still to be read and may go on for ever.
    pub(super) fn send(&self, path: &str, body: &Value) -> Result<Response, Failure> {
        self.sent(self.request("POST", path), body)
    }

    fn sent(&self, request: Request, body: &Value) -> Result<Response, Failure> {
        let request = request.set("Content-Type", "application/json");
        request.send_string(&body.to_string()).map_err(|error| self.failed(error))
    }

    fn request(&self, method: &str, path: &str) -> Request {
        let request = self.agent.request(method, &format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.set("Authorization", &format!("Bearer {key}")),
            None => request,
        }
    }

    fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let strange = |reason: String| Failure::StrangeAnswer { url: self.url.clone(), reason };
        let (mut text, longest) = (Vec::new(), LONGEST.bytes());
        let read = response.into_reader().take(longest + 1).read_to_end(&mut text);
        if read.map_err(|error| strange(error.to_string()))? as u64 > longest {
            return Err(strange(format!("it is longer than {LONGEST}")));
        }
        serde_json::from_slice(&text).map_err(|error| strange(error.to_string()))
    }

    fn failed(&self, error: Error) -> Failure {
        let url = self.url.clone();
        match error {
            Error::Status(status, response) => {
                let text = response.into_string().unwrap_or_default();
                let refusal = serde_json::from_str::<Refusal>(&text).map(|refusal| refusal.error.message);
                let message = refusal.unwrap_or_else(|_| "it does not say why".to_owned());
                Failure::Refused { url, status, message }
            }
            Error::Transport(transport) => {
                let reason = std::error::Error::source(&transport).map_or_else(
                    || transport.message().unwrap_or("no connection").to_owned(),
                    ToString::to_string,
                );
                Failure::Unreachable { url, reason }
            }
        }
    }
}
