//! The page at `/`: plain files, compiled in, that a browser needs nothing else for.
//!
//! It holds no data: what it shows it asks the server for, as any client does, so it may be fetched without a key.
//! Its policy lets it run its own scripts and talk to its own server, and nothing else; what comes from data it sets
//! as text.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::api_error::ApiError;
use super::app::App;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

const INDEX: &str = include_str!("index.html");

/// Each file by its name.
macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!($name))),*] };
}

const FILES: &[(&str, &str)] = files![
    "attempt.js",
    "charts.js",
    "chat.js",
    "compare.js",
    "dom.js",
    "draw.js",
    "events.js",
    "feed.js",
    "figures.js",
    "icon.svg",
    "look.js",
    "main.js",
    "memory.js",
    "overview.js",
    "page.css",
    "panels.css",
    "picture.js",
    "playground.js",
    "pools.js",
    "requests.js",
    "server.js",
];

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(async || served("text/html; charset=utf-8", INDEX)))
        .route("/page/{file}", get(file))
        .route("/favicon.ico", get(async || Redirect::permanent("/page/icon.svg")))
}

async fn file(Path(name): Path<String>) -> Response {
    let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) else {
        return ApiError::new(StatusCode::NOT_FOUND, "the page has no such file")
            .code("unknown_url")
            .into_response();
    };
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    served(kind, text)
}

fn served(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (PERMISSIONS_POLICY, "camera=(), microphone=(), geolocation=()"),
        // Files and server belong together: after an upgrade none of the old ones may be used.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// What a text names after `before`, up to a double quote.
    fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_file_that_is_there_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/page");
        let there: BTreeSet<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "mod.rs" && name != "index.html")
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(served, there);
    }

    #[test]
    fn whatever_the_page_names_is_served() {
        let served: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        let linked: Vec<&str> = named(INDEX, "\"/page/").collect();
        assert!(linked.contains(&"main.js") && linked.contains(&"page.css"), "{linked:?}");
        let scripts = FILES.iter().filter(|(name, _)| name.rsplit('.').next() == Some("js"));
        let imported = scripts.flat_map(|(_, text)| named(text, "from \"./"));
        for name in linked.into_iter().chain(imported) {
            assert!(served.contains(&name), "{name} is not served");
        }
    }

    #[test]
    fn nothing_is_made_of_data_but_text() {
        for (name, text) in FILES.iter().chain([&("index.html", INDEX)]) {
            let marks =
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"];
            for mark in marks.into_iter().chain(["style=\"", "javascript:", "//cdn", "https://"]) {
                assert!(!text.contains(mark), "{name} has {mark}");
            }
            assert!(text.lines().count() <= 400, "{name} is too long");
        }
        assert!(!INDEX.contains("<script>") && !INDEX.contains("<style"), "the policy forbids them");
        assert!(!INDEX.split('<').any(|tag| tag.contains(" on")), "listeners belong into scripts");
    }
}
