//! Templates rewritten so that every container they make is [sealed](super::sealed).
//!
//! The library offers no way to watch `+`, `*`, slices, literals or `{% set %}`, so a template is parsed and
//! written again, with filters where such a value comes out. Nothing else changes: what a tag says stays on
//! its line, and text becomes a tag that writes it.

use minijinja::Error;
use minijinja::machinery::ast::{Call, Expr, ForLoop, IfCond, Macro, Set, SetBlock, Stmt, WithBlock};
use minijinja::machinery::{Span, parse};
use minijinja::syntax::SyntaxConfig;

use super::expressions::{call, expression, part, quote, walked};
use super::sealed::SEAL;

/// `template`, written in `syntax`, with all that it makes sealed, in Jinja's plain syntax without trimming.
pub(super) fn rewrite(template: &str, syntax: SyntaxConfig) -> Result<String, Error> {
    let mut rewriter = Rewriter { out: String::with_capacity(template.len() * 2), line: 1 };
    if let Stmt::Template(template) = parse(template, "", syntax)? {
        rewriter.body(&template.children);
    }
    Ok(rewriter.out)
}

struct Rewriter {
    out: String,
    /// The line that `out` has reached.
    line: usize,
}

impl Rewriter {
    fn body(&mut self, statements: &[Stmt]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Template(template) => self.body(&template.children),
            Stmt::EmitRaw(text) => {
                self.out.push_str("{{ ");
                quote(text.raw, &mut self.out);
                self.out.push_str(" }}");
            }
            Stmt::EmitExpr(emit) => {
                self.out.push_str("{{ ");
                self.reach(emit.span());
                expression(&emit.expr, &mut self.out);
                self.out.push_str(" }}");
            }
            Stmt::ForLoop(each) => self.for_loop(each, each.span()),
            Stmt::IfCond(condition) => self.condition(condition, condition.span()),
            Stmt::WithBlock(with) => self.with(with, with.span()),
            Stmt::Set(set) => self.set(set, set.span()),
            Stmt::SetBlock(set) => self.set_block(set, set.span()),
            Stmt::AutoEscape(escape) => {
                self.tag(escape.span(), "autoescape ", |out| expression(&escape.enabled, out));
                self.body(&escape.body);
                self.out.push_str("{% endautoescape %}");
            }
            Stmt::FilterBlock(block) => {
                self.tag(block.span(), "filter ", |out| sealed_filter(&block.filter, out));
                self.body(&block.body);
                self.out.push_str("{% endfilter %}");
            }
            Stmt::Macro(made) => {
                self.tag(made.span(), "macro ", |out| {
                    out.push_str(made.name);
                    parameters(made, out);
                });
                self.body(&made.body);
                self.out.push_str("{% endmacro %}");
            }
            Stmt::CallBlock(block) => {
                let made: &Call = &block.call;
                self.tag(block.span(), "call", |out| {
                    parameters(&block.macro_decl, out);
                    out.push(' ');
                    call(made, out);
                });
                self.body(&block.macro_decl.body);
                self.out.push_str("{% endcall %}");
            }
            Stmt::Continue(_) => self.out.push_str("{% continue %}"),
            Stmt::Break(_) => self.out.push_str("{% break %}"),
            Stmt::Do(called) => self.tag(called.span(), "do ", |out| call(&called.call, out)),
        }
    }

    fn for_loop(&mut self, each: &ForLoop, span: Span) {
        self.tag(span, "for ", |out| {
            target(&each.target, out);
            out.push_str(" in (");
            walked(&each.iter, out);
            out.push(')');
            if let Some(filter) = &each.filter_expr {
                out.push_str(" if (");
                expression(filter, out);
                out.push(')');
            }
            out.push_str(if each.recursive { " recursive" } else { "" });
        });
        self.body(&each.body);
        if !each.else_body.is_empty() {
            self.out.push_str("{% else %}");
            self.body(&each.else_body);
        }
        self.out.push_str("{% endfor %}");
    }

    /// What is `elif` comes as another condition in `else`: written as it was, long chains nest no deeper.
    fn condition(&mut self, condition: &IfCond, span: Span) {
        self.tag(span, "if ", |out| expression(&condition.expr, out));
        self.body(&condition.true_body);
        let mut rest = &condition.false_body;
        while let [Stmt::IfCond(next)] = rest.as_slice() {
            self.tag(next.span(), "elif ", |out| expression(&next.expr, out));
            self.body(&next.true_body);
            rest = &next.false_body;
        }
        if !rest.is_empty() {
            self.out.push_str("{% else %}");
            self.body(rest);
        }
        self.out.push_str("{% endif %}");
    }

    fn with(&mut self, with: &WithBlock, span: Span) {
        self.tag(span, "with ", |out| {
            for (place, (name, value)) in with.assignments.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                target(name, out);
                out.push('=');
                expression(value, out);
            }
        });
        self.body(&with.body);
        self.out.push_str("{% endwith %}");
    }

    fn set(&mut self, set: &Set, span: Span) {
        self.tag(span, "set ", |out| {
            target(&set.target, out);
            out.push_str(" = ");
            if matches!(set.target, Expr::Var(_)) {
                expression(&set.expr, out);
            } else {
                part(&set.expr, out);
            }
        });
    }

    fn set_block(&mut self, set: &SetBlock, span: Span) {
        self.tag(span, "set ", |out| {
            target(&set.target, out);
            if let Some(filter) = &set.filter {
                out.push_str(" | ");
                sealed_filter(filter, out);
            }
        });
        self.body(&set.body);
        self.out.push_str("{% endset %}");
    }

    /// A tag on the line that it was on.
    fn tag(&mut self, span: Span, name: &str, write: impl FnOnce(&mut String)) {
        self.out.push_str("{% ");
        self.reach(span);
        self.out.push_str(name);
        write(&mut self.out);
        self.out.push_str(" %}");
    }

    fn reach(&mut self, span: Span) {
        while self.line < span.start_line as usize {
            self.out.push('\n');
            self.line += 1;
        }
    }
}

/// What is assigned to: a name, an attribute or several.
fn target(expr: &Expr, out: &mut String) {
    let Expr::List(list) = expr else { return expression(expr, out) };
    for item in &list.items {
        out.push_str(if matches!(item, Expr::List(_)) { "(" } else { "" });
        target(item, out);
        out.push_str(if matches!(item, Expr::List(_)) { ")" } else { "" });
        out.push_str(", ");
    }
}

/// Filters for the text of a block. Text goes in, so what comes out holds no namespace.
fn sealed_filter(filter: &Expr, out: &mut String) {
    expression(filter, out);
    if !out.ends_with(SEAL) {
        out.push('|');
        out.push_str(SEAL);
    }
}

/// What a macro takes; the last ones may do without.
fn parameters(made: &Macro, out: &mut String) {
    out.push('(');
    let without = made.args.len() - made.defaults.len().min(made.args.len());
    for (place, name) in made.args.iter().enumerate() {
        target(name, out);
        if let Some(default) = place.checked_sub(without).and_then(|place| made.defaults.get(place)) {
            out.push('=');
            expression(default, out);
        }
        out.push_str(", ");
    }
    out.push(')');
}
