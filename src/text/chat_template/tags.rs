//! What is looked at in a template's tags before the library sees it.

/// The most words and signs in one tag. The library walks expressions by recursion, one level for each of a
/// chain's links, and has no limit of its own for most chains. Templates in use have up to about 150.
const MAX_SIGNS: usize = 1_000;

/// The most `elif`s in a template. The library reads and drops them by recursion, with no limit of its own.
/// Templates in use have up to about 30.
const MAX_ELIFS: usize = 300;

/// Refuses a template with a tag or a chain of conditions so long that reading it could overflow the stack.
pub(super) fn check(template: &str) -> Result<(), String> {
    for (start, _) in template.match_indices('{') {
        let tag = &template[start + 1..];
        if tag.starts_with(['{', '%']) && signs(&tag[1..], MAX_SIGNS) >= MAX_SIGNS {
            return Err(format!("a tag has more than {MAX_SIGNS} words and signs"));
        }
    }
    if template.matches("elif").nth(MAX_ELIFS).is_some() {
        return Err(format!("it has more than {MAX_ELIFS} elifs"));
    }
    Ok(())
}

/// How many words and signs there are up to the tag's end, texts aside; counted as far as `enough`. What looks
/// like an end inside brackets is none, as the library reads it: `{{ {'a': {}} }}`.
fn signs(tag: &str, enough: usize) -> usize {
    let (mut signs, mut open, mut in_word, mut text) = (0, 0_isize, false, None);
    let mut chars = tag.chars().peekable();
    while let Some(c) = chars.next() {
        let was_word = std::mem::take(&mut in_word);
        match (text, c) {
            (Some(_), '\\') => drop(chars.next()),
            (Some(mark), c) if c == mark => text = None,
            (Some(_), _) => {}
            (None, '%' | '}') if open == 0 && chars.peek() == Some(&'}') => break,
            (None, '\'' | '"') => {
                text = Some(c);
                signs += 1;
            }
            (None, c) if c.is_alphanumeric() || c == '_' => {
                in_word = true;
                signs += usize::from(!was_word);
            }
            (None, c) => {
                open += isize::from("([{".contains(c)) - isize::from(")]}".contains(c));
                signs += usize::from(!c.is_whitespace());
            }
        }
        if signs >= enough {
            break;
        }
    }
    signs
}

/// `template` with `{% generation %}` and `{% endgeneration %}`, which mark for training what an assistant
/// said, made into a condition that always holds. What trims space around them stays.
pub(super) fn without_generation(template: &str) -> String {
    let mut plain = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        let Some(end) = tag.find("%}") else { break };
        plain.push_str(before);
        let inside = &tag[2..end];
        let name = inside.trim_matches(['-', '+']).trim();
        let other = match name {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => name,
        };
        if other == name {
            plain.push_str(&tag[..end + 2]);
        } else {
            plain.push_str("{%");
            plain.push_str(&inside.replacen(name, &format!(" {other} "), 1));
            plain.push_str("%}");
        }
        rest = &tag[end + 2..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_tags_are_refused_and_long_texts_are_not() {
        for long in ["not ", "-", ".a", "+a", "|trim", "[", "~ 'x' "] {
            assert!(check(&format!("{{{{ x{} }}}}", long.repeat(2_000))).is_err(), "{long}");
            assert!(check(&format!("{{{{ {{'a': {{}}}} {} }}}}", long.repeat(2_000))).is_err(), "{long}");
            assert!(
                check(&format!("{{% set y = {{'a': {{}}}} {} %}}", long.repeat(2_000))).is_err(),
                "{long}"
            );
            assert!(check(&format!("{{{{ x{} }}}}", long.repeat(100))).is_ok(), "{long}");
        }
        assert!(check(&format!("{{{{ '{}' }}}}", "- \\' }} ".repeat(2_000))).is_ok());
        assert!(check(&"{% if x %}a{{ 'b' }}{% endif %}".repeat(2_000)).is_ok());
        assert!(check(&"x + ".repeat(2_000)).is_ok());
        assert!(check(&format!("{{% if x %}}{}", "{% elif x %}".repeat(200))).is_ok());
        assert!(check(&format!("{{% if x %}}{}", "{%- elif x %}".repeat(400))).is_err());
    }

    #[test]
    fn the_longest_templates_are_looked_at_in_no_time() {
        for part in ["{{x}}", "{%if x%}{%endif%}", "{% raw %}", "{ ", "{{'", "{{ \" {{ ' }}"] {
            let template = part.repeat((1 << 20) / part.len());
            let start = std::time::Instant::now();
            let _ = check(&template);
            assert!(start.elapsed() < std::time::Duration::from_secs(2), "{part}: {:?}", start.elapsed());
        }
    }

    #[test]
    fn generation_becomes_a_condition() {
        let template =
            "{%- for m in x -%}{%- generation -%}{{ m }}{% endgeneration %}\n{% endfor %} generation {% x";
        let plain = without_generation(template);
        assert_eq!(
            plain.replace("  ", " "),
            "{%- for m in x -%}{%- if true -%}{{ m }}{% endif %}\n{% endfor %} generation {% x"
        );
        assert_eq!(
            without_generation("{% set generation = '{% raw %}' %}"),
            "{% set generation = '{% raw %}' %}"
        );
    }
}
