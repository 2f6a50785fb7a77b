//! Conversations, as the original library renders them.

use super::*;

#[test]
fn templates_render_as_transformers_renders_them() {
    let fixture = fixture();
    let (mut texts, mut refusals, mut wrong) = (0, 0, Vec::new());
    for (name, chats) in &fixture.rendered {
        let template = ChatTemplate::new(&fixture.templates[name], None).unwrap();
        for (of, expected) in chats {
            let chat = chat(&fixture.chats[of]);
            let got = template.render(&chat, &ContentGuard::default(), CivilTime::from_unix(fixture.now));
            match (got, expected) {
                (Ok(got), Outcome::Text(expected)) if got.text == *expected => texts += 1,
                (Err(ChatTemplateError::Refused(got)), Outcome::Refused(expected)) if got == *expected => {
                    refusals += 1;
                }
                (got, Outcome::Text(expected)) => {
                    wrong.push(format!("{name}, {of}:\n{got:?}\ninstead of\n{expected:?}"));
                }
                (got, Outcome::Refused(expected)) => {
                    wrong.push(format!("{name}, {of}: {got:?} instead of {expected:?}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ\n{}",
        wrong.len(),
        wrong.len() + texts + refusals,
        wrong.join("\n\n")
    );
    assert!(texts >= 90 && refusals >= 8, "{texts} texts, {refusals} refusals");
}

#[test]
fn covered_messages_render_like_others() {
    // With these for control tokens, most messages have something to cover.
    let guard = ContentGuard::new(["<think>", "Be", "one", "Hello", "Köln", "?"].map(str::to_owned));
    let fixture = fixture();
    for (name, chats) in
        fixture.rendered.iter().filter(|(name, _)| !["qwen3", "kitchen-sink"].contains(&name.as_str()))
    {
        let template = ChatTemplate::new(&fixture.templates[name], None).unwrap();
        for (of, expected) in chats {
            let Outcome::Text(expected) = expected else { continue };
            let got = template
                .render(&chat(&fixture.chats[of]), &guard, CivilTime::from_unix(fixture.now))
                .unwrap();
            assert_eq!(got.uncovered(), *expected, "{name}, {of}");
        }
    }
}

#[test]
fn long_conversations_have_the_fuel_they_need() {
    let fixture = fixture();
    let turn = [Message::user("why? ".repeat(2_000)), Message::assistant("because. ".repeat(2_000))];
    let mut messages: Vec<Message> = turn.iter().cycle().take(400).cloned().collect();
    messages.push(Message::user("and?"));
    let chat = Chat::new(messages);
    for (name, config) in &fixture.templates {
        let rendered = ChatTemplate::new(config, None).unwrap().render(
            &chat,
            &ContentGuard::default(),
            CivilTime::from_unix(0),
        );
        assert!(rendered.is_ok(), "{name}: {rendered:?}");
    }
}
