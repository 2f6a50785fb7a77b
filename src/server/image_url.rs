//! Pictures as requests name them.

use super::api_error::ApiError;
use super::app::App;
use super::fetch::fetch;
use crate::capability::ImageSource;

/// The picture at `url`: one in a `data:` URL, or one on the net where the server fetches such.
///
/// # Errors
///
/// 400 naming `field`, for any other URL, or one that cannot be fetched.
pub(super) async fn picture(app: &App, field: &str, url: String) -> Result<ImageSource, ApiError> {
    if begins(&url, "data:") {
        return Ok(in_data(&url));
    }
    if !begins(&url, "http://") && !begins(&url, "https://") {
        let message = "a picture is given as a data: URL, such as data:image/png;base64,...";
        return Err(ApiError::invalid(field, message));
    }
    if !app.config().fetch_images {
        let message = "this server fetches no pictures: send a data: URL, such as data:image/png;base64,...";
        return Err(ApiError::invalid(field, message).code("remote_fetch_disabled"));
    }
    match fetch(app, url).await {
        Ok(bytes) => Ok(ImageSource::encoded(bytes)),
        Err(error) => Err(ApiError::invalid(field, error.to_string()).code("remote_fetch_failed")),
    }
}

/// The most pictures of one request that are fetched.
const MOST_FETCHED: usize = 8;

/// Refuses a request whose pictures at `urls` would be too many to fetch, before the first is.
pub(super) fn few_enough<'a>(field: &str, urls: impl Iterator<Item = &'a str>) -> Result<(), ApiError> {
    let fetched = urls.filter(|url| !begins(url, "data:")).count();
    let message =
        || format!("{fetched} pictures would have to be fetched, more than {MOST_FETCHED}: send data: URLs");
    if fetched <= MOST_FETCHED { Ok(()) } else { Err(ApiError::invalid(field, message())) }
}

/// Pictures as base64, or in `data:` URLs.
pub(super) fn pictures(texts: &[String]) -> Vec<ImageSource> {
    let read =
        |text: &String| if begins(text, "data:") { in_data(text) } else { ImageSource::base64(&**text) };
    texts.iter().map(read).collect()
}

/// Some clients do not say that it is a picture.
fn in_data(url: &str) -> ImageSource {
    const UNNAMED: &str = "data:;base64,";
    if begins(url, UNNAMED) {
        return ImageSource::base64(&url[UNNAMED.len()..]);
    }
    ImageSource::data_url(url)
}

fn begins(url: &str, with: &str) -> bool {
    url.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::server::ServerConfig;

    fn named(url: &str) -> Result<ImageSource, ApiError> {
        let app = App::new(Engine::new().unwrap(), ServerConfig::default());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(picture(&app, "image_url", url.to_owned()))
    }

    #[test]
    fn pictures_come_in_data_urls() {
        assert_eq!(named("data:image/png;base64,QQ"), Ok(ImageSource::data_url("data:image/png;base64,QQ")));
        assert_eq!(named("DATA:;base64,QQ"), Ok(ImageSource::base64("QQ")));
    }

    #[test]
    fn a_request_has_few_pictures_fetched_and_any_number_of_its_own() {
        let urls = |count, url| std::iter::repeat_n(url, count);
        assert!(few_enough("input", urls(8, "http://a.example/").chain(urls(99, "data:x"))).is_ok());
        let refused = few_enough("input", urls(9, "http://a.example/")).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("input"));
    }

    #[test]
    fn nothing_else_is_looked_at_unless_it_is_configured() {
        for url in
            ["http://example.com/a.png", "HTTPS://example.com", "file:///etc/passwd", "", "däta:", "/etc"]
        {
            let error = named(url).unwrap_err();
            assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("image_url")), "{url}");
            assert!(error.message.contains("data:"), "{}", error.message);
        }
    }
}
