//! Expressions of a template, written again with all containers they make sealed.

use minijinja::Value;
use minijinja::machinery::ast::{
    BinOpKind, Call, CallArg, CallType, CompareOpKind, Expr, Filter, UnaryOpKind,
};
use minijinja::value::ValueKind;

use super::sealed::{PAID_LENGTH, SEAL, SEAL_PART};

/// Filters that make text, numbers or truth values out of anything.
const SCALAR_FILTERS: [&str; 16] = [
    "bool",
    "capitalize",
    "count",
    "float",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "replace",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
    "abs",
];

/// Filters that compare items with each other.
const COMPARING_FILTERS: [&str; 6] = ["dictsort", "groupby", "max", "min", "sort", "unique"];

/// Writes `expr`; what it makes is sealed.
pub(super) fn expression(expr: &Expr, out: &mut String) {
    let seal = makes_container(expr);
    let loose = seal
        && !matches!(expr, Expr::Filter(_) | Expr::Call(_) | Expr::Slice(_) | Expr::List(_) | Expr::Map(_));
    out.push_str(if loose { "(" } else { "" });
    plain(expr, out);
    out.push_str(if loose { ")" } else { "" });
    if seal {
        out.push('|');
        out.push_str(SEAL);
    }
}

/// Writes `expr` so that it may become part of a namespace or a loop.
pub(super) fn part(expr: &Expr, out: &mut String) {
    if is_scalar(expr) {
        return plain(expr, out);
    }
    enclosed(expr, out);
    out.push('|');
    out.push_str(SEAL_PART);
}

/// Whether `expr` may make a container that no variable held before.
fn makes_container(expr: &Expr) -> bool {
    match expr {
        Expr::Slice(_) | Expr::Filter(_) | Expr::BinOp(_) => !is_scalar(expr),
        Expr::Call(call) => !matches!(call.identify_call(), CallType::Function("loop")),
        Expr::List(list) => !list.items.iter().all(is_scalar),
        Expr::Tuple(tuple) => !tuple.items.iter().all(is_scalar),
        Expr::Map(map) => !map.keys.iter().chain(&map.values).all(is_scalar),
        _ => false,
    }
}

/// Whether `expr` is text, a number or a truth value whatever its parts are, or fails.
fn is_scalar(expr: &Expr) -> bool {
    match expr {
        Expr::Const(_) | Expr::UnaryOp(_) | Expr::Compare(_) | Expr::Test(_) => true,
        Expr::BinOp(op) => match op.op {
            BinOpKind::Add => is_scalar(&op.left) || is_scalar(&op.right),
            BinOpKind::Mul => is_scalar(&op.left) && is_scalar(&op.right),
            BinOpKind::ScAnd | BinOpKind::ScOr => is_scalar(&op.left) && is_scalar(&op.right),
            _ => true,
        },
        Expr::Filter(filter) => SCALAR_FILTERS.contains(&filter.name),
        _ => false,
    }
}

/// Writes `expr` so that anything may go before and after it.
fn enclosed(expr: &Expr, out: &mut String) {
    let closed = match expr {
        Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => true,
        Expr::Const(constant) => constant.value.kind() == ValueKind::String,
        _ => false,
    };
    out.push_str(if closed { "" } else { "(" });
    expression(expr, out);
    out.push_str(if closed { "" } else { ")" });
}

/// Writes `expr` so that its length is paid for: it is about to be walked through.
pub(super) fn walked(expr: &Expr, out: &mut String) {
    enclosed(expr, out);
    out.push('|');
    out.push_str(PAID_LENGTH);
}

/// Writes `expr` so that all of it is paid for: it is about to be compared.
fn paid(expr: &Expr, out: &mut String) {
    enclosed(expr, out);
    if !is_scalar(expr) {
        out.push('|');
        out.push_str(SEAL);
    }
}

/// Writes `expr`; what its parts make is sealed.
fn plain(expr: &Expr, out: &mut String) {
    match expr {
        Expr::Var(var) => out.push_str(var.id),
        Expr::Const(constant) => literal(&constant.value, out),
        Expr::UnaryOp(op) => {
            out.push_str(match op.op {
                UnaryOpKind::Not => "not ",
                UnaryOpKind::Neg => "-",
            });
            enclosed(&op.expr, out);
        }
        Expr::BinOp(op) => binary(op.op, &op.left, &op.right, out),
        Expr::Compare(compare) => {
            // With a scalar on either side, the library pays for what it looks at.
            let links = compare.ops.iter().map(|link| &link.expr);
            let deep =
                std::iter::once(&compare.expr).chain(links).filter(|side| !is_scalar(side)).count() > 1;
            let write = if deep { paid } else { enclosed };
            write(&compare.expr, out);
            for link in &compare.ops {
                out.push_str(comparison(link.op));
                write(&link.expr, out);
            }
        }
        Expr::IfExpr(choice) => {
            enclosed(&choice.true_expr, out);
            out.push_str(" if ");
            enclosed(&choice.test_expr, out);
            if let Some(other) = &choice.false_expr {
                out.push_str(" else ");
                enclosed(other, out);
            }
        }
        Expr::Test(test) => {
            let write = if test.args.is_empty() { enclosed } else { paid };
            write(&test.expr, out);
            out.push_str(" is ");
            out.push_str(test.name);
            arguments(&test.args, paid, out);
        }
        Expr::Filter(filter) => filtered(filter, out),
        Expr::Call(made) => call(made, out),
        Expr::Slice(_) | Expr::GetAttr(_) | Expr::GetItem(_) => lookup(expr, out),
        Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => container(expr, out),
    }
}

/// Long sums are chains to the left, which need no parentheses as long as nothing is sealed.
fn binary(op: BinOpKind, left: &Expr, right: &Expr, out: &mut String) {
    if op_compares(op) && !is_scalar(left) && !is_scalar(right) {
        paid(left, out);
        out.push_str(symbol(op));
        return paid(right, out);
    }
    match left {
        Expr::BinOp(chain) if symbol(chain.op) == symbol(op) && op_chains(op) && is_scalar(left) => {
            plain(left, out);
        }
        _ => enclosed(left, out),
    }
    out.push_str(symbol(op));
    enclosed(right, out);
}

fn op_chains(op: BinOpKind) -> bool {
    matches!(op, BinOpKind::Add | BinOpKind::Concat | BinOpKind::ScAnd | BinOpKind::ScOr)
}

fn op_compares(op: BinOpKind) -> bool {
    use BinOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne};
    matches!(op, Eq | Ne | Lt | Lte | Gt | Gte | In)
}

fn filtered(filter: &Filter, out: &mut String) {
    match &filter.expr {
        Some(Expr::Filter(before)) => {
            filtered(before, out);
            if !SCALAR_FILTERS.contains(&before.name) {
                out.push('|');
                out.push_str(SEAL);
            }
            out.push('|');
        }
        Some(expr) => {
            let write = if COMPARING_FILTERS.contains(&filter.name) { paid } else { enclosed };
            write(expr, out);
            out.push('|');
        }
        None => {}
    }
    out.push_str(filter.name);
    arguments(&filter.args, expression, out);
}

/// What a method is handed may stay in what it belongs to.
pub(super) fn call(call: &Call, out: &mut String) {
    enclosed(&call.expr, out);
    out.push_str(if call.args.is_empty() { "()" } else { "" });
    arguments(&call.args, if matches!(call.expr, Expr::Var(_)) { expression } else { part }, out);
}

fn lookup(expr: &Expr, out: &mut String) {
    match expr {
        Expr::GetAttr(attribute) => {
            enclosed(&attribute.expr, out);
            out.push('.');
            out.push_str(attribute.name);
        }
        Expr::GetItem(item) => {
            enclosed(&item.expr, out);
            out.push('[');
            expression(&item.subscript_expr, out);
            out.push(']');
        }
        Expr::Slice(slice) => {
            out.push('(');
            walked(&slice.expr, out);
            out.push(')');
            for (before, bound) in [("[", &slice.start), (":", &slice.stop), (":", &slice.step)] {
                out.push_str(before);
                bound.iter().for_each(|bound| enclosed(bound, out));
            }
            out.push(']');
        }
        _ => {}
    }
}

fn container(expr: &Expr, out: &mut String) {
    let (start, items, end) = match expr {
        Expr::List(list) => ("[", &list.items, "]"),
        Expr::Tuple(tuple) => ("(", &tuple.items, ")"),
        Expr::Map(map) => {
            out.push('{');
            for (key, value) in map.keys.iter().zip(&map.values) {
                expression(key, out);
                out.push(':');
                expression(value, out);
                out.push(',');
            }
            return out.push('}');
        }
        _ => return,
    };
    out.push_str(start);
    for item in items {
        expression(item, out);
        out.push(',');
    }
    out.push_str(end);
}

fn arguments(args: &[CallArg], write: fn(&Expr, &mut String), out: &mut String) {
    if args.is_empty() {
        return;
    }
    out.push('(');
    for arg in args {
        let value = match arg {
            CallArg::Pos(value) => value,
            CallArg::Kwarg(name, value) => {
                out.push_str(name);
                out.push('=');
                value
            }
            CallArg::PosSplat(value) => {
                out.push('*');
                value
            }
            CallArg::KwargSplat(value) => {
                out.push_str("**");
                value
            }
        };
        write(value, out);
        out.push(',');
    }
    out.push(')');
}

/// Writes a constant; numbers too large for the library stay so.
pub(super) fn literal(value: &Value, out: &mut String) {
    match value.as_str() {
        Some(text) => quote(text, out),
        None if value.is_none() => out.push_str("none"),
        None if value.kind() == ValueKind::Number && !value.is_integer() => {
            let number = f64::try_from(value.clone()).unwrap_or(f64::INFINITY);
            let written = if number.is_finite() { format!("{number:?}") } else { "1e999".to_owned() };
            out.push_str(&written);
        }
        None => out.push_str(&value.to_string()),
    }
}

pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn symbol(op: BinOpKind) -> &'static str {
    match op {
        BinOpKind::Eq => " == ",
        BinOpKind::Ne => " != ",
        BinOpKind::Lt => " < ",
        BinOpKind::Lte => " <= ",
        BinOpKind::Gt => " > ",
        BinOpKind::Gte => " >= ",
        BinOpKind::ScAnd => " and ",
        BinOpKind::ScOr => " or ",
        BinOpKind::Add => " + ",
        BinOpKind::Sub => " - ",
        BinOpKind::Mul => " * ",
        BinOpKind::Div => " / ",
        BinOpKind::FloorDiv => " // ",
        BinOpKind::Rem => " % ",
        BinOpKind::Pow => " ** ",
        BinOpKind::Concat => " ~ ",
        BinOpKind::In => " in ",
    }
}

fn comparison(op: CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => " == ",
        CompareOpKind::Ne => " != ",
        CompareOpKind::Lt => " < ",
        CompareOpKind::Lte => " <= ",
        CompareOpKind::Gt => " > ",
        CompareOpKind::Gte => " >= ",
        CompareOpKind::In => " in ",
        CompareOpKind::NotIn => " not in ",
    }
}
