//! Which model a path names, and what of it is wanted.
//!
//! Names of models may hold slashes. Clients send them as `%2F`, people as they are; both work, because what follows
//! a name is known: `org/name/versions/1/infer` ends in an action, and before it in a version.

use axum::http::StatusCode;

use crate::server::api_error::ApiError;

/// The version that every model has: there is one of each.
pub(super) const VERSION: &str = "1";

/// What of a model is asked about, or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// What it takes and gives.
    Metadata,
    /// Whether it can be asked.
    Ready,
    /// The same as metadata, in the words of Triton's configuration.
    Config,
    /// What it has done.
    Stats,
    /// Tensors in, tensors out.
    Infer,
    /// A text in, a text out.
    Generate,
    /// The same, as it is written.
    GenerateStream,
}

impl Action {
    fn of(segment: &str) -> Option<Self> {
        Some(match segment {
            "ready" => Self::Ready,
            "config" => Self::Config,
            "stats" => Self::Stats,
            "infer" => Self::Infer,
            "generate" => Self::Generate,
            "generate_stream" => Self::GenerateStream,
            _ => return None,
        })
    }

    /// The path of its requests, for listings.
    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::Metadata => "/v2/models/{model}",
            Self::Ready => "/v2/models/{model}/ready",
            Self::Config => "/v2/models/{model}/config",
            Self::Stats => "/v2/models/{model}/stats",
            Self::Infer => "/v2/models/{model}/infer",
            Self::Generate => "/v2/models/{model}/generate",
            Self::GenerateStream => "/v2/models/{model}/generate_stream",
        }
    }

    /// Whether it has to be posted.
    pub(super) fn is_posted(self) -> bool {
        matches!(self, Self::Infer | Self::Generate | Self::GenerateStream)
    }
}

/// The model and the action of what follows `/v2/models/` in a path, as it was sent.
///
/// # Errors
///
/// 404 where no model is named, and for a version that there is not; 400 for what is no text.
pub(super) fn parse(path: &str) -> Result<(String, Action), ApiError> {
    let mut segments: Vec<&str> = path.split('/').collect();
    let action = match segments.last().and_then(|last| Action::of(last)) {
        Some(action) if segments.len() > 1 => {
            segments.pop();
            action
        }
        _ => Action::Metadata,
    };
    if let [_, .., "versions", version] = segments[..] {
        if version != VERSION {
            let message = format!("there is one version of each model, {VERSION}");
            return Err(ApiError::new(StatusCode::NOT_FOUND, message).code("version_not_found"));
        }
        segments.truncate(segments.len() - 2);
    }
    let name = decoded(&segments.join("/"))?;
    if name.is_empty() {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "the path names no model"));
    }
    Ok((name, action))
}

/// `text` with what is percent-encoded as it was before.
pub(super) fn decoded(text: &str) -> Result<String, ApiError> {
    let wrong = || ApiError::new(StatusCode::BAD_REQUEST, "the path is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        // Parsing alone would let a sign pass.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_model_and_an_action() {
        let cases = [
            ("m", "m", Action::Metadata),
            ("m/ready", "m", Action::Ready),
            ("m/versions/1", "m", Action::Metadata),
            ("m/versions/1/infer", "m", Action::Infer),
            ("org%2Fname/infer", "org/name", Action::Infer),
            ("org/name/infer", "org/name", Action::Infer),
            ("org/name/versions/1/generate_stream", "org/name", Action::GenerateStream),
            ("a%2Fready", "a/ready", Action::Metadata),
            ("ready", "ready", Action::Metadata),
            ("versions/1", "versions/1", Action::Metadata),
            ("m%20%C3%A9/stats", "m é", Action::Stats),
            ("m/config", "m", Action::Config),
            ("m/generate", "m", Action::Generate),
        ];
        for (path, model, action) in cases {
            assert_eq!(parse(path), Ok((model.to_owned(), action)), "{path}");
        }
    }

    #[test]
    fn what_names_no_model_is_refused() {
        let cases = [
            ("", 404),
            ("/ready", 404),
            ("m/versions/2", 404),
            ("m/versions//infer", 404),
            ("m%", 400),
            ("m%2", 400),
            ("m%zz", 400),
            ("m%+1", 400),
            ("%ff", 400),
            ("m%é", 400),
        ];
        for (path, status) in cases {
            assert_eq!(parse(path).unwrap_err().status.as_u16(), status, "{path}");
        }
    }
}
