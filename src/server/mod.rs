//! The five pools over HTTP.
//!
//! A [`Server`] puts an [`Engine`](crate::Engine) behind the interfaces that clients already speak: OpenAI's, the Open
//! Inference Protocol's, and Ollama's; beside them are health, metrics, the pools' state, orders to them, and a page
//! to look at all of it. axum and tokio live here and nowhere below: a handler reads a request within limits,
//! submits it to a pool, and awaits the ticket. A client that goes away drops the handler, the handler drops the
//! ticket, and that cancels the request.
//!
//! ```no_run
//! use millpond::Engine;
//! use millpond::server::{App, Server, ServerConfig};
//!
//! let engine = Engine::new()?;
//! engine.add("minilm", "sentence-transformers/all-MiniLM-L6-v2")?;
//! let server = Server::bind(App::new(engine, ServerConfig::default()))?;
//! println!("http://{}", server.address());
//! server.run(|| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to change | look in |
//! | --- | --- |
//! | what a request may be | `config.rs`, `json_body.rs` |
//! | who may come in | `guard.rs`, `api_keys.rs` |
//! | how errors look | `api_error.rs` |
//! | how connections come in | `door.rs`, `socket.rs` |
//! | how it stops | `listen.rs`, `signals.rs` |
//! | what is listed and canceled | `in_flight.rs`, `status.rs` |
//! | what is seen once a second | `feed/` |
//! | what is scraped | `metrics.rs` |
//! | the page | `page/`: plain files |
//! | a dialect | the folder of its name |
//! | how a call of a tool is told from text | `spoken/` |
//! | which pictures are fetched | `image_url.rs`, `fetch/` |
//! | answers that come in pieces | `sse.rs` |

mod admin;
mod api_error;
mod api_keys;
mod app;
mod arrival;
mod config;
mod directory;
mod door;
mod feed;
mod fetch;
mod generation;
mod guard;
mod health;
mod heard;
mod image_url;
mod in_flight;
mod inference;
mod json_body;
mod json_form;
mod listen;
mod many;
mod metrics;
mod ollama;
mod openai;
mod page;
mod signals;
mod socket;
mod spoken;
mod sse;
mod status;
mod terms;
mod texts;

pub use api_error::{ApiError, ErrorKind};
pub use api_keys::{ApiKeys, WeakKey};
pub use app::App;
pub use config::{Exposed, Limits, ServerConfig};
pub use directory::{Directory, Listing, Offer};
pub use in_flight::{InFlight, RequestStatus};
pub use listen::{Running, ServeError, Server, Stopped};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use tower_http::catch_panic::CatchPanicLayer;

/// All routes. The guard goes first, whatever the path.
fn routes(app: App) -> Router {
    let routes = Router::new().merge(health::routes()).merge(status::routes()).merge(admin::routes());
    let routes = routes.merge(page::routes()).merge(feed::routes(&app)).merge(metrics::routes());
    let routes = routes.merge(openai::routes()).merge(inference::routes()).merge(ollama::routes());
    routes
        .fallback(async || ApiError::unknown_url())
        .method_not_allowed_fallback(async || ApiError::wrong_method())
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn(in_dialect))
        .with_state(app)
}

/// Errors are told as the dialect of their path tells them, whoever raised them.
async fn in_dialect(request: Request, next: Next) -> Response {
    let less = api_error::says_less(request.uri().path());
    let response = next.run(request).await;
    if less { api_error::reshape(response) } else { response }
}

/// A handler's panic costs its request and nothing else.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    use axum::response::IntoResponse;

    let message = crate::contain::message_of(&*panic);
    drop(panic);
    tracing::error!(%message, "a handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed on this request; its log says why")
        .into_response()
}
