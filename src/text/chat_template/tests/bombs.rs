//! Templates made to take time, memory or stack.

use super::*;
#[cfg(target_os = "linux")]
use crate::text::lone_test::{peak_kb, run_alone, to_try};

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

/// More addresses than a test run needs, in KB: a bomb that goes off fails.
#[cfg(target_os = "linux")]
const BOMB_ADDRESSES_KB: u64 = 4 << 20;

/// The most memory that rendering any bomb may take, the test run's own included.
#[cfg(target_os = "linux")]
const BOMB_PEAK_KB: u64 = 400 << 10;

#[cfg(target_os = "linux")]
#[test]
fn one_bomb_in_a_child() {
    let Some(bomb) = to_try() else { return };
    let outcome = run(&bomb);
    println!("outcome: {}", if outcome.is_err() { "typed error" } else { "text" });
    println!("peak: {}", peak_kb());
}

/// What a child makes of `bomb`: whether it is a typed error, and its peak in KB. Anything else fails.
#[cfg(target_os = "linux")]
fn burn(bomb: &str) -> (bool, u64) {
    let name = "text::chat_template::tests::bombs::one_bomb_in_a_child";
    let output = run_alone(name, bomb, BOMB_ADDRESSES_KB);
    let said = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let line = said.split_once(name).unwrap_or_else(|| panic!("{bomb}: {output:?}")).1;
        line.lines().next().unwrap_or_default().trim().to_owned()
    };
    let peak = field("peak:").parse().unwrap();
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
