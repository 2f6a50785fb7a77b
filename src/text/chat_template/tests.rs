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
                // An error of Python's own, not the template's: any error will do.
                (Err(_), Outcome::Refused(_)) => refusals += 1,
                (Ok(got), Outcome::Refused(expected)) => {
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

#[test]
fn a_hostile_template_gets_an_error_and_no_more() {
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
    assert!(matches!(run(endless), Err(ChatTemplateError::OutOfFuel { .. })));
    let writes = format!("{{% for a in range(9999) %}}{}{{% endfor %}}", "x".repeat(100));
    assert!(matches!(
        run(&writes),
        Err(ChatTemplateError::TooLong { .. } | ChatTemplateError::OutOfFuel { .. })
    ));
    let bombs = [
        "{% set n = namespace(x='aaaaaaaaaaaaaaaa') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{{ 'a' * 3000000000 }}",
        "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "{% set n = namespace(x='a') %}{% for a in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}{{ n.x }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ range(100000000000) | list }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ 'x' | indent(1000000000) }}",
        "{{ 'x'.ljust(1000000000) if false else 'x'.zfill(1000000000) }}",
        "{{ [1] | tojson(indent=1000000000) }}",
        "{{ messages | batch(1000000000, 'x') | list }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ ','.join(['a' * 100000] * 100000) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{% set n = namespace(x=[]) %}{% set n.x = n %}{{ n }}{{ n | string }}{{ n | tojson }}",
        "{{ 1 / 0 }}",
        "{{ 2 ** 10000000 }}",
    ];
    for bomb in bombs {
        let outcome = run(bomb);
        assert!(
            outcome.as_ref().map_or(true, |text| text.len() < 1 << 20),
            "{bomb}: {} bytes",
            outcome.unwrap().len()
        );
    }
    for broken in [
        "{% for %}",
        "{{ 'x",
        "{% if true %}",
        &"{".repeat(100_000),
        &"{% if true %}".repeat(5_000),
        &"(".repeat(50_000),
    ] {
        let outcome = run(broken);
        assert!(outcome.as_ref().map_or(true, |text| text.len() < 1 << 20), "{outcome:?}");
    }
    assert!(matches!(from_text("{{ 'x"), Err(ChatTemplateError::Syntax(_))));
    assert!(matches!(from_text(&"x".repeat(2 << 20)), Err(ChatTemplateError::Syntax(_))));
}

#[test]
fn what_nests_too_deep_is_not_made() {
    let nested = |levels: usize, ending: &str| {
        run(&format!(
            "{{% set n = namespace(x=[]) %}}{{% for a in range({levels}) %}}{{% set n.x = [n.x] %}}{{% endfor %}}{ending}"
        ))
    };
    for ending in ["{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x | string }}", ""] {
        assert!(nested(50, ending).is_ok(), "{ending}");
        assert!(matches!(nested(3_000, ending), Err(ChatTemplateError::Failed(_))), "{ending}");
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

#[test]
fn refusals_come_in_the_templates_own_words() {
    let refused = run("{{ raise_exception('no ' ~ messages[0].role) }}");
    assert_eq!(refused, Err(ChatTemplateError::Refused("no user".to_owned())));
    assert!(matches!(run("{{ nothing.at.all }}"), Err(ChatTemplateError::Failed(_))));
    assert!(matches!(run("{{ strftime_now('%Q') }}"), Err(ChatTemplateError::Failed(_))));
}

/// A child of this test renders one bomb; its address space is limited, so that a bomb that goes off fails.
const BOMB: &str = "MILLPOND_CHAT_TEMPLATE_BOMB";

/// More than a test run needs, in KB: the limit is on addresses, which a process takes generously.
const BOMB_ADDRESSES_KB: u64 = 4 << 20;

/// The most memory that rendering any bomb may take, the test run's own included.
const BOMB_PEAK_KB: u64 = 400 << 10;

#[test]
fn one_bomb_in_a_child() {
    let Ok(bomb) = std::env::var(BOMB) else { return };
    let outcome = run(&bomb);
    println!("outcome: {}", if outcome.is_err() { "typed error" } else { "text" });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    println!("peak: {}", peak.trim());
}

/// What a child makes of `bomb`: whether it is a typed error, and its peak in KB. Anything else fails.
#[cfg(target_os = "linux")]
fn burn(bomb: &str) -> (bool, u64) {
    let test = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh")
        .args(["-c", &format!("ulimit -v {BOMB_ADDRESSES_KB} && ulimit -t 60 && exec \"$0\" \"$@\"")])
        .arg(test)
        .args([
            "--exact",
            "text::chat_template::tests::one_bomb_in_a_child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(BOMB, bomb)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let line = text.split_once(name).unwrap_or_else(|| panic!("{bomb}: {output:?}")).1;
        line.lines().next().unwrap_or_default().trim().to_owned()
    };
    let peak = field("peak:").trim_end_matches(" kB").parse().unwrap();
    assert!(output.status.success(), "{bomb}: {output:?}");
    (field("outcome:") == "typed error", peak)
}

/// Lists doubled until they would fill any memory, deep nests and cycles: all spellings end in typed errors.
#[cfg(target_os = "linux")]
#[test]
fn doubled_lists_and_cycles_are_typed_errors_in_little_memory() {
    let endings = ["{{ n.x }}", "{{ n.x ~ '' }}", "{{ n.x | join('') }}", "{% for y in n.x %}y{% endfor %}"];
    let doublings = [
        "{% set n.x = n.x + n.x %}",
        "{% set n.x = [n.x, n.x] %}",
        "{% set n.x = {'a': n.x, 'b': n.x} %}",
        "{% set n.x = n.x * 2 %}",
        "{% set n.x = (n.x + n.x)[0:] %}",
        "{% set n.x = n.x | chain(n.x) %}",
        "{% set n.x = n.x | zip(n.x) | list %}",
        "{% set y = n.x + n.x %}{% set n.x = y %}",
        "{% with y = n.x + n.x %}{% set n.x = y %}{% endwith %}",
    ];
    let mut bombs = Vec::new();
    for doubling in doublings {
        for ending in endings {
            let start = "{% set n = namespace(x=[1, 2]) %}";
            bombs.push(format!("{start}{{% for a in range(60) %}}{doubling}{{% endfor %}}{ending}"));
        }
    }
    bombs.push(format!("{{% set x = [1] %}}{}{{{{ x ~ '' }}}}", "{% set x = x + x %}".repeat(60)));
    bombs.push(
        "{% macro m(x, d) %}{% if d %}{{ m(x + x, d - 1) }}{% else %}{{ x ~ '' }}{% endif %}{% endmacro %}\
        {{ m([1], 60) }}"
            .to_owned(),
    );
    bombs.push("{{ [[[[['x'] * 999] * 999] * 999] * 999] ~ '' }}".to_owned());
    let cycles = [
        "{% set n = namespace() %}{% set n.x = n %}",
        "{% set n = namespace() %}{% set n.x = [n] %}",
        "{% set n = namespace() %}{% set n.x = {'k': n} %}",
        "{% set n = namespace() %}{% set m = namespace(x=n) %}{% set n.x = m %}",
        "{% set n = namespace() %}{% set m = namespace() %}{% set n.x = m %}{% set m.x = n %}",
        "{% set n = namespace() %}{% set n.x = dict(k=n) %}",
        "{% set n = namespace() %}{% set n.x = n if true else 1 %}",
        "{% set n = namespace() %}{% set n.x = n or n %}",
        "{% set n = namespace() %}{% set n.x = n | default(1) %}",
        "{% set n = namespace() %}{% set a, b = (n, n) %}{% set n.x = b %}",
        "{% set n = namespace() %}{% for a in [1] %}{% set n.x = loop %}{{ loop.changed(n) }}{% endfor %}",
    ];
    for cycle in cycles {
        for ending in ["{{ n ~ '' }}", "{{ [n] | join }}", "{{ n | upper }}", "{{ n == n.x }}", ""] {
            bombs.push(format!("{cycle}{ending}"));
        }
    }
    for bomb in &bombs {
        let (typed_error, peak) = burn(bomb);
        assert!(typed_error, "{bomb}");
        assert!(peak <= BOMB_PEAK_KB, "{bomb}: {peak} KB");
    }
}

/// Texts doubled or repeated: whether they end in text or in an error, they end, and small.
#[cfg(target_os = "linux")]
#[test]
fn repeated_texts_take_little_memory() {
    let doubled = |how: &str| {
        format!(
            "{{% set n = namespace(x='ab') %}}{{% for a in range(60) %}}{{% set n.x = {how} %}}{{% endfor %}}{{{{ n.x }}}}"
        )
    };
    let bombs = [
        doubled("n.x ~ n.x"),
        doubled("n.x + n.x"),
        doubled("n.x * 9"),
        doubled("[n.x, n.x] | join"),
        doubled("''.join([n.x, n.x])"),
        doubled("n.x | replace('a', n.x)"),
        doubled("n.x.replace('a', n.x)"),
        doubled("'%s%s' | format(n.x, n.x)"),
        doubled("'{}{}'.format(n.x, n.x)"),
        doubled("n.x | tojson | tojson"),
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}".to_owned(),
        "{{ ['a' * 100000] * 100000 ~ '' }}".to_owned(),
        "{{ range(10 ** 9) | list }}".to_owned(),
        "{{ (range(99999) | list) * 99999 }}".to_owned(),
    ];
    for bomb in &bombs {
        let (_, peak) = burn(bomb);
        assert!(peak <= BOMB_PEAK_KB, "{bomb}: {peak} KB");
    }
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

/// What the library compares and walks through by itself: a template pays for it all the same.
#[cfg(target_os = "linux")]
#[test]
fn templates_pay_for_what_takes_time() {
    let start = "{% set s = 'a' * 300000 %}{% set x = [range(2500) | list] %}{% set y = [range(2500) | list] %}\
        {% set z = [x, y] %}";
    let bodies = [
        "x == y",
        "x < y",
        "x != y and x <= y",
        "x == y == z",
        "x in [y]",
        "x not in z",
        "x is eq(y)",
        "x is in(z)",
        "z | max",
        "z | unique",
        "z | sort",
        "z | select('eq', y)",
        "z | first == y",
        "z.count(y)",
        "s[::-500000]",
        "x[0][2499:]",
        "{x: 1}[y]",
        "loop.changed(loop.cycle(x, y))",
        "s.title()",
        "'b' in s",
        "x | string",
        "x | join",
        "'%.5s' | format(s)",
        "s | wordcount",
    ];
    let bodies = bodies.iter().map(|body| format!("{{% if {body} %}}{{% endif %}}"));
    for body in bodies.chain(["{% for c in s %}{% break %}{% endfor %}".to_owned()]) {
        let started = std::time::Instant::now();
        burn(&format!("{start}{{% for a in range(9999) %}}{body}{{% endfor %}}"));
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{body}: {:?}", started.elapsed());
    }
}

/// The library reads, compiles and drops templates by recursion: what would overflow a stack is refused.
#[cfg(target_os = "linux")]
#[test]
fn long_chains_and_deep_nests_overflow_no_stack() {
    for link in ["~x", "+x", ".x", "|list", "()", "[0]", "[1:]", " if x else x", " == x", " ** x", " is x"] {
        let short = 800 / (1 + link.len());
        burn(&format!("{{{{ x{} }}}}", link.repeat(short)));
        let (typed_error, _) = burn(&format!("{{{{ {{'a': {{}}}}{} }}}}", link.repeat(100_000 / link.len())));
        assert!(typed_error, "{link}");
    }
    let nests = [
        ("{% if x %}", "{% endif %}"),
        ("{% for x in y %}", "{% endfor %}"),
        ("{% macro m() %}", "{% endmacro %}"),
        ("{% set x %}", "{% endset %}"),
        ("{% filter upper %}", "{% endfilter %}"),
    ];
    for (open, close) in nests {
        burn(&format!("{}1{}", open.repeat(140), close.repeat(140)));
        let (typed_error, _) = burn(&format!("{}1{}", open.repeat(3_000), close.repeat(3_000)));
        assert!(typed_error, "{open}");
    }
    burn(&format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(300)));
    let refused = [
        format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(9_000)),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% macro m() %}{% call m() %}1{% endcall %}{{ caller() }}{% endmacro %}{% call m() %}2{% endcall %}".to_owned(),
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{% for x in [1] recursive %}{% set y %}{{ a() }}\
            {% endset %}{{ y }}{% endfor %}{% endmacro %}{{ a() }}".to_owned(),
    ];
    for template in &refused {
        assert!(burn(template).0, "{}", &template[..100]);
    }
}
