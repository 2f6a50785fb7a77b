//! The server as clients meet it: over a socket, with the shipped models and with scripted ones.
#![cfg(feature = "server")]

mod bad_requests;
mod inference;
mod life;
mod limits;
mod ollama;
mod openai_chat;
mod openai_embeddings;
mod openai_more;
mod seen;
mod support;
