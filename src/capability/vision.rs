//! Pictures and text in, text out.

use super::text_to_text::{Chat, Message, Prompt};
use super::{Capability, GenerateRequest, ImageSource, InvalidRequest, TextCompletion, Token, TokenCount};

/// Answers questions about pictures.
#[derive(Clone, Copy, Debug)]
pub struct Vision;

impl Capability for Vision {
    const NAME: &'static str = "vision";
    type Request = DescribeRequest;
    type Event = Token;
    type Output = TextCompletion;

    fn tokens(output: &TextCompletion) -> TokenCount {
        output.tokens()
    }
}

/// Pictures and what to say of them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DescribeRequest {
    /// The pictures, in the order in which the prompt shows them. There may be none.
    pub images: Vec<ImageSource>,
    /// Where in the prompt they are.
    pub places: ImagePlaces,
    /// The question, and how to generate the answer.
    pub generate: GenerateRequest,
}

/// Where in a prompt pictures are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImagePlaces {
    /// Before the text of a conversation's last message by the user; before all of a raw prompt.
    #[default]
    First,
    /// One place for each picture, in order.
    At(Vec<ImagePlace>),
    /// Where a raw prompt has the model's own placeholder: each stands for one picture.
    Marked,
}

/// A place in a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePlace {
    /// Which message of the conversation, counting from 0; 0 in a raw prompt.
    pub message: usize,
    /// So many bytes of its text, between two characters, come before the picture.
    pub at: usize,
}

#[cfg(any(feature = "candle", test))]
impl ImagePlace {
    /// `text` in pieces, with a picture at each of `places` between one and the next: one piece more than places.
    pub(crate) fn cut(text: &str, places: impl Iterator<Item = usize>) -> impl Iterator<Item = &str> {
        let ends = places.chain([text.len()]);
        ends.scan(0, |from, end| Some(text.get(std::mem::replace(from, end)..end).unwrap_or_default()))
    }
}

/// A part of what a message says, as in the APIs of chat completions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ContentPart {
    /// A text.
    Text(String),
    /// A picture.
    Image(ImageSource),
}

impl ContentPart {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A picture.
    pub fn image(image: ImageSource) -> Self {
        Self::Image(image)
    }
}

/// The most pictures of one request.
const MAX_IMAGES: usize = 256;

impl DescribeRequest {
    /// Asks `generate` about `images`, which are shown before the last question.
    pub fn new(images: Vec<ImageSource>, generate: GenerateRequest) -> Self {
        Self { images, places: ImagePlaces::First, generate }
    }

    /// A conversation whose messages show pictures between their texts. A message's content is what its parts
    /// say; the rest of it stays as it is.
    ///
    /// ```
    /// use millpond::capability::{ContentPart, DescribeRequest, ImageSource, Message};
    ///
    /// let picture = ImageSource::path("weir.png");
    /// let parts = vec![ContentPart::text("What is in "), ContentPart::image(picture), ContentPart::text("?")];
    /// let request = DescribeRequest::conversation([(Message::user(""), parts)]);
    /// assert_eq!(request.images.len(), 1);
    /// ```
    pub fn conversation(said: impl IntoIterator<Item = (Message, Vec<ContentPart>)>) -> Self {
        let (mut messages, mut images, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (mut message, parts) in said {
            message.content.clear();
            for part in parts {
                match part {
                    ContentPart::Text(text) => message.content.push_str(&text),
                    ContentPart::Image(image) => {
                        places.push(ImagePlace { message: messages.len(), at: message.content.len() });
                        images.push(image);
                    }
                }
            }
            messages.push(message);
        }
        let generate = GenerateRequest::new(Chat::new(messages));
        Self { images, places: ImagePlaces::At(places), generate }
    }

    /// Sets [`places`](Self::places).
    #[must_use]
    pub fn places(mut self, places: ImagePlaces) -> Self {
        self.places = places;
        self
    }

    /// Refuses what no model could serve; what the pictures are is not looked at.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        self.generate.validate()?;
        if self.images.len() > MAX_IMAGES {
            let reason =
                format!("{} pictures are more than the {MAX_IMAGES} of one request", self.images.len());
            return Err(InvalidRequest::new("images", reason));
        }
        match (&self.places, &self.generate.prompt) {
            (_, Prompt::Tokens(_)) => {
                let reason = "pictures go with a text or a conversation, whose tokens the model makes itself";
                Err(InvalidRequest::new("prompt", reason))
            }
            (ImagePlaces::First, Prompt::Chat(chat)) if !self.images.is_empty() => {
                let asked = chat.last_question().is_some();
                let reason = "no message of the conversation is the user's, and pictures go with one";
                asked.then_some(()).ok_or_else(|| InvalidRequest::new("images", reason))
            }
            (ImagePlaces::First, _) | (ImagePlaces::Marked, Prompt::Raw(_)) => Ok(()),
            (ImagePlaces::Marked, Prompt::Chat(_)) => {
                let reason = "only a raw prompt can be marked: a message's text is text";
                Err(InvalidRequest::new("places", reason))
            }
            (ImagePlaces::At(places), prompt) => self.check_places(places, prompt),
        }
    }

    fn check_places(&self, places: &[ImagePlace], prompt: &Prompt) -> Result<(), InvalidRequest> {
        let wrong = |reason: String| Err(InvalidRequest::new("places", reason));
        if places.len() != self.images.len() {
            return wrong(format!("there are {} for {} pictures", places.len(), self.images.len()));
        }
        if !places.is_sorted() {
            return wrong("they are not in the order of the prompt".to_owned());
        }
        let text = |index: usize| match prompt {
            Prompt::Raw(text) => (index == 0).then_some(text),
            Prompt::Tokens(_) => None,
            Prompt::Chat(chat) => chat.messages.get(index).map(|message| &message.content),
        };
        for ImagePlace { message, at } in places {
            match text(*message) {
                None => return wrong(format!("there is no message {message}")),
                Some(text) if !text.is_char_boundary(*at) => {
                    return wrong(format!("byte {at} is not between two characters of message {message}"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The place of each picture, of a request that was found valid; `None` where the prompt is marked.
    #[cfg(any(feature = "candle", test))]
    pub(crate) fn all_places(&self) -> Option<Vec<ImagePlace>> {
        match (&self.places, &self.generate.prompt) {
            (ImagePlaces::Marked, _) => None,
            (ImagePlaces::At(places), _) => Some(places.clone()),
            (ImagePlaces::First, Prompt::Raw(_) | Prompt::Tokens(_)) => {
                Some(vec![ImagePlace { message: 0, at: 0 }; self.images.len()])
            }
            (ImagePlaces::First, Prompt::Chat(chat)) => {
                let message = chat.last_question().unwrap_or_default();
                Some(vec![ImagePlace { message, at: 0 }; self.images.len()])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageSource {
        ImageSource::path("x.png")
    }

    fn refused(request: &DescribeRequest) -> &'static str {
        request.validate().map_or_else(|error| error.field, |()| "nothing")
    }

    fn raw(images: usize, places: ImagePlaces) -> DescribeRequest {
        let generate = GenerateRequest::new(Prompt::Raw("wéir".to_owned()));
        DescribeRequest::new(vec![image(); images], generate).places(places)
    }

    fn at(message: usize, at: usize) -> ImagePlace {
        ImagePlace { message, at }
    }

    #[test]
    fn parts_become_texts_with_places() {
        let parts = vec![ContentPart::text("a"), ContentPart::image(image()), ContentPart::text("b")];
        let request = DescribeRequest::conversation([
            (Message::system("x"), vec![ContentPart::text("be brief")]),
            (Message::user("gone"), parts),
            (Message::user(""), vec![ContentPart::image(image()), ContentPart::image(image())]),
        ]);
        let Prompt::Chat(chat) = &request.generate.prompt else { panic!("it is a conversation") };
        assert_eq!(chat.messages[1], Message::user("ab"));
        assert_eq!(request.all_places().unwrap(), [at(1, 1), at(2, 0), at(2, 0)]);
        assert_eq!((request.images.len(), refused(&request)), (3, "nothing"));
    }

    #[test]
    fn a_text_is_cut_where_pictures_are() {
        let pieces = |places: &[usize]| ImagePlace::cut("abcd", places.iter().copied()).collect::<Vec<_>>();
        assert_eq!(pieces(&[0, 2, 2, 4]), ["", "ab", "", "cd", ""]);
        assert_eq!(pieces(&[]), ["abcd"]);
    }

    #[test]
    fn pictures_go_before_the_last_question() {
        let said = [Message::user("a"), Message::assistant("b"), Message::user("c"), Message::assistant("d")];
        let request = DescribeRequest::new(vec![image()], GenerateRequest::new(Chat::new(said.to_vec())));
        assert_eq!(request.all_places().unwrap(), [at(2, 0)]);
        let nobody = GenerateRequest::new(Chat::new(vec![Message::assistant("b")]));
        assert_eq!(refused(&DescribeRequest::new(vec![image()], nobody.clone())), "images");
        assert_eq!(refused(&DescribeRequest::new(Vec::new(), nobody)), "nothing");
    }

    #[test]
    fn places_are_in_the_prompt_and_in_order() {
        let places = |places: &[ImagePlace]| refused(&raw(places.len(), ImagePlaces::At(places.to_vec())));
        assert_eq!(places(&[at(0, 0), at(0, 3), at(0, 5)]), "nothing");
        for wrong in [&[at(0, 3), at(0, 0)][..], &[at(0, 2)], &[at(0, 6)], &[at(1, 0)], &[at(usize::MAX, 0)]]
        {
            assert_eq!(places(wrong), "places", "{wrong:?}");
        }
        assert_eq!(refused(&raw(2, ImagePlaces::At(vec![at(0, 0)]))), "places");
        assert_eq!(refused(&raw(257, ImagePlaces::First)), "images");
        assert_eq!(refused(&raw(2, ImagePlaces::Marked)), "nothing");
        let chat = GenerateRequest::new(Chat::new(vec![Message::user("a")]));
        assert_eq!(refused(&DescribeRequest::new(vec![image()], chat).places(ImagePlaces::Marked)), "places");
    }
}
