use super::*;

/// What is told of `text` that comes in `pieces`: thought, text, and calls as `name(arguments)`.
fn told(tools: &[&str], pieces: impl IntoIterator<Item = impl AsRef<str>>) -> (String, String, Vec<String>) {
    let tools: Vec<_> = tools.iter().map(|&tool| tool.to_owned()).collect();
    let mut reader = Reader::new(&tools);
    let mut said: Vec<_> = pieces.into_iter().flat_map(|piece| reader.push(piece.as_ref())).collect();
    said.extend(reader.finish());
    let (mut thought, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    for said in said {
        match said {
            Said::Thought(piece) => thought.push_str(&piece),
            Said::Text(piece) => text.push_str(&piece),
            Said::Call(Called { name, arguments }) => calls.push(format!("{name}({arguments})")),
        }
    }
    (thought, text, calls)
}

/// Each way of calling, with what is text and what is called in it.
const SPOKEN: &[(&str, &str, &[&str])] = &[
    ("Hello there.", "Hello there.", &[]),
    ("", "", &[]),
    ("  \n", "  \n", &[]),
    // Hermes and Qwen.
    (r#"<tool_call>{"name": "look", "arguments": {"at": 1}}</tool_call>"#, "", &[r#"look({"at":1})"#]),
    (
        "I'll look.\n<tool_call>\n{\"name\": \"look\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"go\", \"arguments\": {\"to\": \"</tool_call>\"}}\n</tool_call>",
        "I'll look.",
        &["look({})", r#"go({"to":"</tool_call>"})"#],
    ),
    (r#"<tool_call>{"name": "look"}"#, "", &["look({})"]),
    (r#"<tool_call>{"name": "fly", "arguments": {}}</tool_call>"#, "", &["fly({})"]),
    (r#"<tool_call>{"name": "look", "argu"#, r#"<tool_call>{"name": "look", "argu"#, &[]),
    ("<tool_call>nothing</tool_call>", "<tool_call>nothing</tool_call>", &[]),
    ("<tool_call>{bad json}</tool_call>", "<tool_call>{bad json}</tool_call>", &[]),
    ("a < b and <tool", "a < b and <tool", &[]),
    (r#"<tool_call>{"name": "look"}</tool_call> Done."#, " Done.", &["look({})"]),
    // Mistral, with its marker in the text and without.
    (
        r#"[TOOL_CALLS][{"name": "look", "arguments": {"at": 1}}, {"name": "go", "arguments": {}}]"#,
        "",
        &[r#"look({"at":1})"#, "go({})"],
    ),
    (
        r#"[TOOL_CALLS]look[ARGS]{"at": 1}[TOOL_CALLS]go[CALL_ID]abc123def[ARGS]{}"#,
        "",
        &[r#"look({"at":1})"#, "go({})"],
    ),
    (r#"[{"name": "look", "arguments": {"at": 1}}]"#, "", &[r#"look({"at":1})"#]),
    // Llama 3.
    (r#"<|python_tag|>{"name": "look", "parameters": {"at": 1}}"#, "", &[r#"look({"at":1})"#]),
    (r#"{"name": "look", "parameters": {"at": 1}}"#, "", &[r#"look({"at":1})"#]),
    (
        r#"{"type": "function", "name": "look", "parameters": {}}; {"name": "go", "parameters": {}}"#,
        "",
        &["look({})", "go({})"],
    ),
    (r#" {"function": {"name": "look", "arguments": "{\"at\": 1}"}}"#, "", &[r#"look({"at": 1})"#]),
    // JSON that calls nothing, or no tool there is, is what was asked for.
    (r#"{"name": "Ada", "age": 36}"#, r#"{"name": "Ada", "age": 36}"#, &[]),
    (r#"{"age": 36}"#, r#"{"age": 36}"#, &[]),
    ("[1, 2]", "[1, 2]", &[]),
    ("{", "{", &[]),
    ("[TOOL_CALLS]", "[TOOL_CALLS]", &[]),
    ("[TOOL_CALLS]?", "[TOOL_CALLS]?", &[]),
];

#[test]
fn calls_are_told_from_text() {
    for (spoken, text, calls) in SPOKEN {
        let (thought, told_text, told_calls) = told(&["look", "go"], [spoken]);
        assert_eq!((thought.as_str(), told_text.as_str()), ("", *text), "{spoken}");
        assert_eq!(told_calls, *calls, "{spoken}");
    }
}

#[test]
fn the_same_is_told_in_whatever_pieces_it_comes() {
    let mut random = fastrand::Rng::with_seed(7);
    for (spoken, ..) in SPOKEN {
        let spoken = format!("<think>\nHm, \"{spoken}\"?\n</think>\n\n{spoken}");
        let whole = told(&["look", "go"], [&spoken]);
        assert_eq!(told(&["look", "go"], spoken.chars().map(String::from)), whole, "{spoken}");
        for _ in 0..20 {
            let mut pieces = vec![String::new()];
            for c in spoken.chars() {
                if random.u8(..4) == 0 {
                    pieces.push(String::new());
                }
                pieces.last_mut().unwrap().push(c);
            }
            assert_eq!(told(&["look", "go"], &pieces), whole, "{pieces:?}");
        }
    }
}

#[test]
fn nothing_of_a_call_is_told_before_it_is_one() {
    let mut reader = Reader::new(&["look".to_owned()]);
    assert_eq!(reader.push("One moment. "), [Said::Text("One moment.".to_owned())]);
    for piece in ["<", "tool", "_call>", "{\"name\"", ": \"look\", \"arguments\": {", "}"] {
        assert_eq!(reader.push(piece), [], "{piece}");
    }
    let call = Called { name: "look".to_owned(), arguments: "{}".to_owned() };
    assert_eq!(reader.push("}"), [Said::Call(call)]);
    assert_eq!(reader.push("</tool_call>"), []);
    assert_eq!(reader.finish(), []);
}

#[test]
fn without_tools_a_call_is_text() {
    let spoken = r#"<tool_call>{"name": "look"}</tool_call>"#;
    assert_eq!(told(&[], [spoken]), (String::new(), spoken.to_owned(), vec![]));
}

#[test]
fn thoughts_are_told_from_speech() {
    let table = [
        ("<think>a\nb</think>\n\nc", "a\nb", "c"),
        ("\n<think>\n\na </think>c</think>", "a", "c</think>"),
        ("<think></think>c", "", "c"),
        ("<think>\n\n</think>\n\nc", "", "c"),
        ("<think>never ends <", "never ends <", ""),
        ("say <think>no</think>", "", "say <think>no</think>"),
        ("<thin", "", "<thin"),
        ("<thinker>", "", "<thinker>"),
        ("<think>a</think>", "a", ""),
    ];
    for (spoken, thought, text) in table {
        let expected = (thought.to_owned(), text.to_owned(), vec![]);
        assert_eq!(told(&[], [spoken]), expected, "{spoken}");
        assert_eq!(told(&[], spoken.chars().map(String::from)), expected, "{spoken} by characters");
    }
}

#[test]
fn what_is_held_back_may_begin_a_marker() {
    assert_eq!(held_back("text <tool", &["<tool_call>"]), 6);
    assert_eq!(held_back("text \n", &["<tool_call>"]), 2);
    assert_eq!(held_back("text", &["<tool_call>"]), 0);
    assert_eq!(held_back("é<", &["<a>", "<<b"]), 1);
    assert_eq!(held_back("", &["<a>"]), 0);
}
