mod bombs;
mod conversations;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::*;
use crate::capability::{Role, ToolCall};

/// What `tests/fixtures/chat/make.py` writes.
#[derive(Deserialize)]
struct Fixture {
    now: i64,
    templates: BTreeMap<String, ChatConfig>,
    chats: BTreeMap<String, Json>,
    rendered: BTreeMap<String, BTreeMap<String, Outcome>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Text(String),
    Refused(String),
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat/chats.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn chat(json: &Json) -> Chat {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let message = |json: &Json| {
        let role = match json["role"].as_str().unwrap() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => Role::Tool,
        };
        let call = |call: &Json| ToolCall {
            id: text(&call["id"]),
            name: text(&call["function"]["name"]).unwrap(),
            arguments: call["function"]["arguments"].clone(),
        };
        Message {
            reasoning: text(&json["reasoning_content"]),
            tool_calls: json["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
            tool_call_id: text(&json["tool_call_id"]),
            name: text(&json["name"]),
            ..Message::new(role, json["content"].as_str().unwrap())
        }
    };
    let mut chat = Chat::new(json["messages"].as_array().unwrap().iter().map(message).collect());
    chat.tools = json["tools"].as_array().cloned().unwrap_or_default();
    chat.template_args = json["template_args"].as_object().cloned().unwrap_or_default().into_iter().collect();
    chat
}

fn from_text(template: &str) -> Result<ChatTemplate, ChatTemplateError> {
    ChatTemplate::new(&ChatConfig::from_text(template.to_owned(), None, None), None)
}

fn run(template: &str) -> Result<String, ChatTemplateError> {
    let chat = Chat::new(vec![Message::user("hello")]);
    let rendered = from_text(template)?.render(&chat, &ContentGuard::default(), CivilTime::from_unix(0));
    rendered.map(|guarded| guarded.text)
}

#[test]
fn the_template_is_found_wherever_files_put_it() {
    let rendered = |config: Json, file: Option<&str>, chat: &Chat| {
        let config: ChatConfig = serde_json::from_value(config).unwrap();
        ChatTemplate::new(&config, file)?
            .render(chat, &ContentGuard::default(), CivilTime::from_unix(0))
            .map(|text| text.text)
    };
    let plain = Chat::new(vec![Message::user("x")]);
    let tools = Chat { tools: vec![json!({})], ..plain.clone() };
    let named = json!({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"},
        {"name": "rag", "template": "{% broken"}]});
    assert_eq!(rendered(named.clone(), None, &plain), Ok("d".to_owned()));
    assert_eq!(rendered(named.clone(), None, &tools), Ok("t".to_owned()));
    assert_eq!(rendered(named, Some("f"), &tools), Ok("f".to_owned()));
    let tokens = json!({"chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}", "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null, "model_max_length": 1e30});
    assert_eq!(rendered(tokens, None, &plain), Ok("<s></s>".to_owned()));
    assert_eq!(rendered(json!({}), None, &plain), Err(ChatTemplateError::Missing));
}

/// Requests that name one of these as an argument are refused: the list must be what templates are given.
#[test]
fn a_template_is_told_its_own_variables_and_no_others() {
    let own: BTreeSet<&str> = Chat::OWN_VARIABLES.into();
    let tokens = Chat::OWN_VARIABLES.iter().filter(|name| name.ends_with("_token"));
    let mut config: Map<String, Json> = tokens.map(|name| ((*name).to_owned(), json!("<t>"))).collect();
    config.insert("chat_template".to_owned(), json!("{{ eos_token }}{{ extra }}"));
    let config: ChatConfig = serde_json::from_value(config.into()).unwrap();
    let template = ChatTemplate::new(&config, None).unwrap();
    let mut chat = Chat::new(vec![Message::user("x")]);
    let told = template.variables(content(&chat), CivilTime::from_unix(0));
    let told = told.try_iter().unwrap().map(|name| name.as_str().unwrap().to_owned());
    let called = template.environment.globals().map(|(name, _)| name.to_owned());
    let told: BTreeSet<String> = told.chain(called.filter(|name| own.contains(name.as_str()))).collect();
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), own);
    chat.template_args = ["eos_token", "extra"].map(|name| (name.to_owned(), json!("mine"))).into();
    let rendered = template.render(&chat, &ContentGuard::default(), CivilTime::from_unix(0)).unwrap();
    assert_eq!(rendered.text, "<t>mine");
}

#[test]
fn refusals_come_in_the_templates_own_words() {
    let refused = run("{{ raise_exception('no ' ~ messages[0].role) }}");
    assert_eq!(refused, Err(ChatTemplateError::Refused("no user".to_owned())));
    assert!(matches!(run("{{ nothing.at.all }}"), Err(ChatTemplateError::Failed(_))));
    assert!(matches!(run("{{ strftime_now('%Q') }}"), Err(ChatTemplateError::Failed(_))));
}

#[test]
fn what_templates_in_use_need_is_untouched_by_sealing() {
    let cases = [
        (
            "{% set n = namespace(l=[]) %}{% for a in range(3) %}{% set n.l = n.l + [a] %}{% endfor %}{{ n.l }}",
            "[0, 1, 2]",
        ),
        (
            "{% set all = [{'role': 'system'}] + messages %}{{ all | length }}{{ all[1:][0].content[-1] }}",
            "2o",
        ),
        ("{% set n = namespace(m=none) %}{% set n.m = messages[0] %}{{ n.m['role'] }}", "user"),
        ("{% macro m(a, b='x', c=[1]) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m('1', c=2) }}", "1x2"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% else %}none{% endfor %}", "a1"),
        ("{{ 'abc'.startswith(('x', 'a')) }}{{ -2 }}{{ 7 // 2 }}{{ not 'a' not in 'abc' }}", "True-23True"),
        (
            "{{ messages | map(attribute='role') | list | join(',') }}{{ 1 if false }}{{ 1.5e3 }}",
            "user1500.0",
        ),
        (
            "{% if false %}1{% elif true %}2{% else %}3{% endif %}{% filter upper %}a\n  b{% endfilter %}",
            "2A\n  B",
        ),
        ("{% set x %}a\"\\b{% endset %}{{ x }}{{ 1 < 2 < 3 }}{{ [1, 2, 3][::-1] }}", "a\"\\bTrue[3, 2, 1]"),
        ("{% macro m() %}<{{ caller(1) }}>{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "<1>"),
        ("{% for a in [[1, [2]]] recursive %}{{ loop(a) if a is sequence else a }}{% endfor %}", "12"),
    ];
    for (template, expected) in cases {
        assert_eq!(run(template).as_deref(), Ok(expected), "{template}");
    }
    let failed = run("a\n{% if true %}\n\n{{ nothing.x }}{% endif %}").unwrap_err().to_string();
    assert!(failed.contains("line 4"), "{failed}");
}
