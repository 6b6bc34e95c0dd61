//! Evaluates an expression over a record, as Python does.

#![expect(clippy::needless_pass_by_value, reason = "operands are not used afterwards")]

use super::{
    Expression, Mode,
    filters::printf,
    methods,
    notes::Source,
    parse::{Arguments, Comparison, Expr, Node, Operator},
    reads::GLOBALS,
    scope::{Path, Scope, at},
    value::{Evaluated, Fault, Missing, Unreadable, Val, equal, order},
};
use crate::compute;
use jiff::civil::Date;
use std::{cell::RefCell, cmp::Ordering, collections::HashMap};

/// One evaluation.
pub(super) struct Evaluation<'e, 'a> {
    pub(super) expression: &'e Expression,
    pub(super) scope: &'e Scope<'a>,
    pub(super) today: Date,
    /// Values that helpers could not parse.
    pub(super) misread: RefCell<Vec<Unreadable>>,
    /// The values of parts that determine which branches were taken.
    kept: RefCell<HashMap<u32, Val<'a>>>,
}

impl<'e, 'a> Evaluation<'e, 'a> {
    pub(super) fn new(expression: &'e Expression, scope: &'e Scope<'a>, today: Date) -> Self {
        Self { expression, scope, today, misread: RefCell::default(), kept: RefCell::default() }
    }

    /// Whether any use of a missing value fails. Otherwise a missing value is false, empty and equal to nothing.
    fn is_strict(&self) -> bool {
        self.expression.mode != Mode::Plain
    }

    pub(super) fn eval(&self, node: &Node) -> Evaluated<'a> {
        compute::step(1)?;
        let mut value = self.plain(node)?;
        // A name or a member is a copy of a value that was charged for when it was created.
        let is_copy = matches!(node.kind, Expr::Name(_) | Expr::Attribute(..) | Expr::Item(..));
        value.weigh(if is_copy { compute::copy } else { compute::make })?;
        let notes = &self.expression.notes;
        if let Some((path, guarded)) = notes.needs.get(&node.id) {
            value = self.need(value, path, *guarded)?;
        }
        if let Some(source) = notes.blanks.get(&node.id) {
            value = self.blank_at(value, source, false);
        }
        if notes.kept.contains(&node.id) {
            self.kept.borrow_mut().insert(node.id, value.clone());
        }
        Ok(value)
    }

    /// A value that a check needs. The check stops if it is null, or if it is missing or a method and the record lacks
    /// the path.
    fn need(&self, value: Val<'a>, path: &Path, guarded: bool) -> Evaluated<'a> {
        let is_absent = match &value {
            Val::None => !guarded,
            Val::Missing(_) | Val::Method(..) => match self.scope.resolve(path) {
                None => true,
                Some(held) => matches!(held, Val::None) && !guarded,
            },
            _ => false,
        };
        if is_absent { Err(Fault::missing_at(&path.text)) } else { Ok(value) }
    }

    /// Adds the path to a blank value, if the blank comes from the record.
    fn blank_at(&self, value: Val<'a>, source: &Source, raw: bool) -> Val<'a> {
        let is_blank =
            value.is_blank_marker() || (raw && matches!(&value, Val::Text(text) if text.trim().is_empty()));
        if is_blank
            && let Some(paths) = self.blank_paths(source)
            && let Some(path) = paths.first()
        {
            return Val::Missing(Missing { fault: Box::new(Fault::missing_at(&path.text)), blank: true });
        }
        value
    }

    /// The blank paths in the record that a blank comes from; `None` if it does not come from the record alone.
    fn blank_paths(&self, source: &Source) -> Option<Vec<Path>> {
        let kept = |id: &u32| self.kept.borrow().get(id).cloned();
        let truth = |id: &u32| self.truth(&kept(id)?).ok();
        let join = |mut one: Vec<Path>, other: Vec<Path>| {
            for path in other {
                if !one.contains(&path) {
                    one.push(path);
                }
            }
            one
        };
        match source {
            Source::Path(path) => self.scope.is_blank(path).then(|| vec![path.clone()]),
            Source::All(parts) => {
                parts.iter().try_fold(Vec::new(), |found, part| Some(join(found, self.blank_paths(part)?)))
            }
            Source::Get(path, fallback) => {
                let own = self.scope.is_blank(path).then(|| vec![path.clone()])?;
                if self.scope.resolve(path).is_some() {
                    return Some(own);
                }
                Some(join(own, self.blank_paths(fallback)?))
            }
            Source::If(id, then, otherwise) => self.blank_paths(if truth(id)? { then } else { otherwise }),
            Source::Or(id, left, right) | Source::And(id, left, right) => {
                if truth(id)? == matches!(source, Source::Or(..)) {
                    return self.blank_paths(left);
                }
                let right = self.blank_paths(right)?;
                Some(join(self.blank_paths(left).unwrap_or_default(), right))
            }
            Source::Default { kept: id, falsy, value, fallback } => {
                let given = kept(id)?;
                let replaced = matches!(given, Val::Missing(_))
                    || (*falsy != Some(false) && self.truth(&given).ok() == Some(false));
                let own = self.blank_paths(value)?;
                if replaced { Some(join(own, self.blank_paths(fallback)?)) } else { Some(own) }
            }
            Source::Unknown => None,
        }
    }

    fn plain(&self, node: &Node) -> Evaluated<'a> {
        match &node.kind {
            Expr::Const(value) => Ok(Val::owned(value.clone())),
            Expr::Name(name) => {
                let undefined = || Val::undefined(format!("'{name}' is undefined"));
                Ok(self.scope.get(name).unwrap_or_else(undefined))
            }
            Expr::Attribute(base, name) => self.attribute(self.eval(base)?, name),
            Expr::Item(base, key) => {
                let base = self.eval(base)?;
                self.item(base, self.eval(key)?)
            }
            Expr::Slice(base, bounds) => self.slice(base, bounds),
            Expr::Call(callee, arguments) => self.call(callee, arguments),
            Expr::Filter(base, name, arguments) => {
                let value = self.eval(base)?;
                let (placed, named) = self.arguments(arguments)?;
                self.filter(name, value, placed, named)
            }
            Expr::Test(base, name, arguments) => {
                let value = self.eval(base)?;
                let (placed, _) = self.arguments(arguments)?;
                self.test(name, &value, &placed).map(Val::Bool)
            }
            Expr::Not(operand) => Ok(Val::Bool(!self.truth(&self.eval(operand)?)?)),
            Expr::Negative(operand) => match self.eval(operand)?.used()? {
                Val::Int(number) => number.checked_neg().map(Val::Int).ok_or_else(too_large),
                Val::Float(number) => Ok(Val::Float(-number)),
                Val::Bool(flag) => Ok(Val::Int(-i128::from(flag))),
                other => {
                    Err(Fault::type_error(format!("bad operand type for unary -: '{}'", other.type_name())))
                }
            },
            Expr::Positive(operand) => match self.eval(operand)?.used()? {
                Val::Bool(flag) => Ok(Val::Int(i128::from(flag))),
                value @ (Val::Int(_) | Val::Float(_)) => Ok(value),
                other => {
                    Err(Fault::type_error(format!("bad operand type for unary +: '{}'", other.type_name())))
                }
            },
            Expr::Binary(operator, left, right) => {
                let left = self.eval(left)?;
                let right = self.eval(right)?;
                binary(*operator, left.used()?, right.used()?)
            }
            Expr::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    let part = text_of(&self.eval(part)?)?;
                    compute::make(part.len())?;
                    text.push_str(&part);
                }
                Ok(Val::Text(text))
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                for (comparison, right) in rest {
                    let right = self.eval(right)?;
                    if !self.compare(*comparison, &left, &right)? {
                        return Ok(Val::Bool(false));
                    }
                    left = right;
                }
                Ok(Val::Bool(true))
            }
            Expr::And(left, right) | Expr::Or(left, right) => {
                let decider = matches!(node.kind, Expr::Or(..));
                if self.expression.notes.deciding.contains(&node.id) {
                    return self.decide(node.id, decider, left, right);
                }
                let left = self.eval(left)?;
                if self.truth(&left)? == decider { Ok(left) } else { self.eval(right) }
            }
            Expr::If { test, then, otherwise } => {
                if self.truth(&self.eval(test)?)? {
                    return self.eval(then);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Val::undefined(
                        "the inline if-expression on line 1 evaluated to false and no else section was defined.",
                    )),
                }
            }
            Expr::List(items) => self.all(items).map(Val::List),
            Expr::Tuple(items) => self.all(items).map(Val::Tuple),
            Expr::Map(entries) => {
                let mut map: Vec<(Val<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.eval(key)?.used()?;
                    let value = self.eval(value)?;
                    match map.iter_mut().find(|(known, _)| equal(known, &key)) {
                        Some(entry) => entry.1 = value,
                        None => map.push((key, value)),
                    }
                }
                Ok(Val::Map(map))
            }
        }
    }

    fn all(&self, nodes: &[Node]) -> Result<Vec<Val<'a>>, Fault> {
        nodes.iter().map(|node| self.eval(node)).collect()
    }

    #[expect(clippy::type_complexity, reason = "positional and named arguments")]
    fn arguments(&self, arguments: &Arguments) -> Result<(Vec<Val<'a>>, Vec<(String, Val<'a>)>), Fault> {
        let placed = self.all(&arguments.placed)?;
        let named = arguments.named.iter().map(|(name, node)| Ok((name.clone(), self.eval(node)?)));
        Ok((placed, named.collect::<Result<_, Fault>>()?))
    }

    /// Evaluates an `and` or `or` of which only the truth counts. If a missing value stops the left side, the right
    /// side may decide the result.
    fn decide(&self, id: u32, decider: bool, left: &Node, right: &Node) -> Evaluated<'a> {
        let unreadable_before = self.misread.borrow().len();
        let stopped = match self.eval(left).and_then(|value| Ok((self.truth(&value)?, value))) {
            Ok((truth, value)) => return if truth == decider { Ok(value) } else { self.eval(right) },
            Err(fault @ Fault::Missing { .. }) if self.misread.borrow().len() == unreadable_before => fault,
            Err(fault) => return Err(fault),
        };
        let decided = self.eval(right).and_then(|value| match value {
            // A lazy value decides only if its truth in Python and in a verdict agree.
            Val::Lazy(items) => Ok((decider && !items.is_empty(), Val::List(items))),
            value => Ok((self.truth(&value)? == decider, value)),
        });
        match decided {
            Ok((true, value)) if !(decider && self.expression.notes.lazy_left.contains(&id)) => Ok(value),
            Ok(_) | Err(Fault::Missing { .. }) => Err(stopped),
            Err(fault) => Err(fault),
        }
    }

    /// Python's `bool(value)`.
    pub(super) fn truth(&self, value: &Val<'a>) -> Result<bool, Fault> {
        match value {
            Val::Missing(missing) if self.is_strict() => Err((*missing.fault).clone()),
            Val::Missing(_) => Ok(false),
            Val::Unreadable(unreadable) => Err(Fault::Unreadable(unreadable.clone())),
            value => Ok(value.is_true()),
        }
    }

    /// The items of a value; an error if it is not iterable.
    pub(super) fn items_of(&self, value: &Val<'a>) -> Result<Vec<Val<'a>>, Fault> {
        match value {
            Val::Missing(_) if !self.is_strict() => Ok(Vec::new()),
            Val::Missing(_) | Val::Unreadable(_) => value.clone().used().map(|_| Vec::new()),
            value => value
                .items()
                .ok_or_else(|| Fault::type_error(format!("'{}' object is not iterable", value.type_name()))),
        }
    }

    pub(super) fn attribute(&self, base: Val<'a>, name: &str) -> Evaluated<'a> {
        if let Some(value) = self.member_of_missing(&base)? {
            return Ok(value);
        }
        if let Some(value) = base.entry(&Val::Text(name.to_owned())) {
            return Ok(value);
        }
        let type_name = object_name(&base);
        let undefined = || Val::undefined(format!("'{type_name}' has no attribute '{name}'"));
        Ok(methods::attribute(&base, name).unwrap_or_else(undefined))
    }

    /// The member of a value that is missing or unreadable itself; `None` for other values.
    fn member_of_missing(&self, base: &Val<'a>) -> Result<Option<Val<'a>>, Fault> {
        match base {
            Val::Missing(_) if self.is_strict() => Ok(Some(base.clone())),
            Val::Missing(_) | Val::Unreadable(_) => base.clone().used().map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn item(&self, base: Val<'a>, key: Val<'a>) -> Evaluated<'a> {
        if let Some(value) = self.member_of_missing(&base)? {
            return Ok(value);
        }
        let key = if self.is_strict() { key.used()? } else { key };
        if let Some(value) = base.entry(&key) {
            return Ok(value);
        }
        if let Val::Text(name) = &key {
            return self.attribute(base, name);
        }
        let found = key.as_int().and_then(|index| at(&base, i64::try_from(index).ok()?));
        let undefined = || {
            Val::undefined(format!("{} has no element {}", object_name(&base), super::dates::quoted(&key)))
        };
        Ok(found.unwrap_or_else(undefined))
    }

    fn slice(&self, base: &Node, bounds: &[Option<Box<Node>>; 3]) -> Evaluated<'a> {
        let base = self.eval(base)?.used()?;
        let mut given = [None; 3];
        for (bound, node) in given.iter_mut().zip(bounds) {
            if let Some(node) = node {
                *bound = match self.eval(node)?.used()? {
                    Val::None => None,
                    value => {
                        let index = value.as_int().and_then(|index| i64::try_from(index).ok());
                        let wrong = || Fault::type_error("slice indices must be integers or None");
                        Some(index.ok_or_else(wrong)?)
                    }
                };
            }
        }
        let is_text = matches!(base, Val::Text(_));
        if base.is_mapping() || base.len().is_none() {
            return Err(Fault::type_error(format!("'{}' object is not subscriptable", base.type_name())));
        }
        let length = base.len().unwrap_or_default();
        let characters: Vec<char> = match &base {
            Val::Text(text) => {
                compute::make(text.len().saturating_mul(size_of::<char>()))?;
                text.chars().collect()
            }
            _ => Vec::new(),
        };
        let items = if is_text { Vec::new() } else { base.items().unwrap_or_default() };
        // There are fewer items if the budget was exceeded.
        let length = if is_text { length } else { length.min(items.len()) };
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let step = given[2].unwrap_or(1);
        if step == 0 {
            return Err(Fault::Failed("ValueError", "slice step cannot be zero".into()));
        }
        let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
        let clamp = |bound: Option<i64>, default: i64| {
            bound.map_or(default, |bound| if bound < 0 { bound + length } else { bound }.clamp(low, high))
        };
        let mut index = clamp(given[0], if step > 0 { low } else { high });
        let end = clamp(given[1], if step > 0 { high } else { low });
        let (mut taken, mut text) = (Vec::new(), String::new());
        while if step > 0 { index < end } else { index > end } {
            let here = usize::try_from(index).unwrap_or_default();
            if is_text {
                text.push(characters[here]);
            } else {
                taken.push(items[here].clone());
            }
            index = index.saturating_add(step);
        }
        Ok(match base {
            _ if is_text => Val::Text(text),
            Val::Tuple(_) => Val::Tuple(taken),
            _ => Val::List(taken),
        })
    }

    fn call(&self, callee: &Node, arguments: &Arguments) -> Evaluated<'a> {
        match &callee.kind {
            Expr::Name(name) if GLOBALS.contains(&name.as_str()) => {
                if name == "days_between" && self.expression.mode == Mode::Check {
                    let mut dates = Vec::new();
                    for argument in arguments.iter() {
                        dates.push(self.date_argument(argument)?);
                    }
                    let names = arguments.named.iter().map(|(name, _)| name.clone());
                    let named = dates.split_off(arguments.placed.len());
                    return self.helper(name, dates, names.zip(named).collect());
                }
                let (placed, named) = self.arguments(arguments)?;
                self.helper(name, placed, named)
            }
            Expr::Attribute(base, name) => {
                let base = self.eval(base)?;
                match self.attribute(base, name)?.used()? {
                    Val::Method(value, name) => {
                        let (placed, named) = self.arguments(arguments)?;
                        methods::call(&value, &name, placed, named)
                    }
                    other => Err(not_callable(&other)),
                }
            }
            _ => {
                let value = self.plain(callee)?;
                Err(not_callable(&value.used()?))
            }
        }
    }

    /// An argument of `days_between`. A missing value stops it only after the other date has been evaluated.
    fn date_argument(&self, node: &Node) -> Evaluated<'a> {
        let value = match self.eval(node) {
            Err(fault @ Fault::Missing { .. }) => {
                return Ok(Val::Missing(Missing { fault: Box::new(fault), blank: false }));
            }
            value => value?,
        };
        Ok(match self.expression.notes.dates.get(&node.id) {
            Some(source) => self.blank_at(value, source, true),
            None => value,
        })
    }

    /// Records a value that could not be parsed.
    pub(super) fn misread(&self, unreadable: Unreadable) -> Unreadable {
        self.misread.borrow_mut().push(unreadable.clone());
        unreadable
    }

    pub(super) fn equals(&self, left: &Val<'a>, right: &Val<'a>) -> Result<bool, Fault> {
        for side in [left, right] {
            match side {
                Val::Missing(missing) if self.is_strict() => return Err((*missing.fault).clone()),
                Val::Unreadable(unreadable) => return Err(Fault::Unreadable(unreadable.clone())),
                _ => {}
            }
        }
        Ok(equal(left, right))
    }

    pub(super) fn compare(
        &self,
        comparison: Comparison,
        left: &Val<'a>,
        right: &Val<'a>,
    ) -> Result<bool, Fault> {
        let (sign, wanted): (&str, &[Ordering]) = match comparison {
            Comparison::Equal => return self.equals(left, right),
            Comparison::NotEqual => return self.equals(left, right).map(|equal| !equal),
            Comparison::In => return self.contains(right, left),
            Comparison::NotIn => return self.contains(right, left).map(|contains| !contains),
            Comparison::Less => ("<", &[Ordering::Less]),
            Comparison::LessOrEqual => ("<=", &[Ordering::Less, Ordering::Equal]),
            Comparison::Greater => (">", &[Ordering::Greater]),
            Comparison::GreaterOrEqual => (">=", &[Ordering::Greater, Ordering::Equal]),
        };
        let (left, right) = (left.clone().used()?, right.clone().used()?);
        Ok(order(&left, &right, sign)?.is_some_and(|order| wanted.contains(&order)))
    }

    fn contains(&self, whole: &Val<'a>, part: &Val<'a>) -> Result<bool, Fault> {
        if let Val::Text(text) = whole {
            return match part.clone().used()? {
                Val::Text(part) => {
                    compute::copy(text.len())?;
                    Ok(text.contains(&part))
                }
                other => {
                    let other = other.type_name();
                    let message = format!("'in <string>' requires string as left operand, not {other}");
                    Err(Fault::type_error(message))
                }
            };
        }
        if whole.is_mapping() {
            return Ok(whole.entry(&part.clone().used()?).is_some());
        }
        if !matches!(whole, Val::Missing(_) | Val::Unreadable(_)) && whole.items().is_none() {
            let message = format!("argument of type '{}' is not iterable", whole.type_name());
            return Err(Fault::type_error(message));
        }
        for item in self.items_of(whole)? {
            if self.equals(&item, part)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn binary<'a>(operator: Operator, left: Val<'a>, right: Val<'a>) -> Evaluated<'a> {
    let lists = |value: &Val<'a>| matches!(value, Val::List(_) | Val::Json(serde_json::Value::Array(_)));
    match (operator, &left, &right) {
        (Operator::Add, Val::Text(left), Val::Text(right)) => {
            compute::copy(left.len().saturating_add(right.len()))?;
            return Ok(Val::Text(format!("{left}{right}")));
        }
        (Operator::Add, Val::Text(_), other) => {
            let other = other.type_name();
            return Err(Fault::type_error(format!("can only concatenate str (not \"{other}\") to str")));
        }
        (Operator::Add, one, other) if lists(one) && lists(other) => {
            let mut items = one.items().unwrap_or_default();
            items.extend(other.items().unwrap_or_default());
            return Ok(Val::List(items));
        }
        (Operator::Subtract, Val::Date(left), Val::Date(right)) => {
            return Ok(Val::Days(days(*right, *left)));
        }
        (Operator::Add | Operator::Subtract, Val::Date(date), Val::Days(days)) => {
            let days = if operator == Operator::Add { *days } else { -*days };
            return date
                .checked_add(jiff::Span::new().days(days))
                .map(Val::Date)
                .map_err(|_| Fault::Failed("OverflowError", "date value out of range".into()));
        }
        (Operator::Multiply, Val::Text(text), count) | (Operator::Multiply, count, Val::Text(text))
            if count.as_int().is_some() =>
        {
            let count = usize::try_from(count.as_int().unwrap_or_default().max(0)).unwrap_or(usize::MAX);
            compute::make(text.len().saturating_mul(count))?;
            return Ok(Val::Text(text.repeat(count)));
        }
        (Operator::Remainder, Val::Text(format), value) => {
            let values = match value {
                Val::Tuple(items) => items.clone(),
                value => vec![value.clone()],
            };
            return printf(format, &values).map(Val::Text);
        }
        _ => {}
    }
    arithmetic(operator, &left, &right)
}

/// A value as part of a text.
pub(super) fn text_of(value: &Val<'_>) -> Result<String, Fault> {
    match value {
        Val::Missing(missing) if missing.blank => Err((*missing.fault).clone()),
        Val::Unreadable(unreadable) => Err(Fault::Unreadable(unreadable.clone())),
        value => Ok(value.text()),
    }
}

/// The number of days from one date to another.
pub(super) fn days(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

pub(super) fn too_large() -> Fault {
    Fault::Failed("OverflowError", "the number is too large".into())
}

/// The name of a value in errors about its members.
fn object_name(value: &Val<'_>) -> String {
    match value {
        Val::None => "None".into(),
        value => format!("{} object", value.type_name()),
    }
}

fn not_callable(value: &Val<'_>) -> Fault {
    Fault::type_error(format!("'{}' object is not callable", value.type_name()))
}

fn arithmetic<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>) -> Evaluated<'a> {
    let division = |message: &str| Err(Fault::Failed("ZeroDivisionError", message.into()));
    if let (Some(one), Some(other)) = (left.as_int(), right.as_int()) {
        let whole = match operator {
            Operator::Add => one.checked_add(other),
            Operator::Subtract => one.checked_sub(other),
            Operator::Multiply => one.checked_mul(other),
            Operator::FloorDivide | Operator::Remainder if other == 0 => {
                return division("integer division or modulo by zero");
            }
            Operator::FloorDivide => one
                .checked_div_euclid(other)
                .map(|whole| whole - i128::from(other < 0 && one.rem_euclid(other) != 0)),
            Operator::Remainder => {
                let rest = one.wrapping_rem_euclid(other);
                Some(if other < 0 && rest != 0 { rest + other } else { rest })
            }
            Operator::Power if other >= 0 => {
                u32::try_from(other).ok().and_then(|other| one.checked_pow(other))
            }
            Operator::Divide | Operator::Power => return floats(operator, left, right),
        };
        return whole.map(Val::Int).ok_or_else(too_large);
    }
    floats(operator, left, right)
}

fn floats<'a>(operator: Operator, left: &Val<'a>, right: &Val<'a>) -> Evaluated<'a> {
    let (Some(one), Some(other)) = (left.as_f64(), right.as_f64()) else {
        let sign = match operator {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::FloorDivide => "//",
            Operator::Remainder => "%",
            Operator::Power => "** or pow()",
        };
        let (left, right) = (left.type_name(), right.type_name());
        return Err(Fault::type_error(format!(
            "unsupported operand type(s) for {sign}: '{left}' and '{right}'"
        )));
    };
    let is_whole = left.as_int().is_some() && right.as_int().is_some();
    let zero = |message: &str| Err(Fault::Failed("ZeroDivisionError", message.into()));
    match operator {
        Operator::Divide if other == 0.0 => {
            return zero(if is_whole { "division by zero" } else { "float division by zero" });
        }
        Operator::FloorDivide if other == 0.0 => return zero("float floor division by zero"),
        Operator::Remainder if other == 0.0 => return zero("float modulo"),
        Operator::Power if one == 0.0 && other < 0.0 => {
            return zero("0.0 cannot be raised to a negative power");
        }
        _ => {}
    }
    let floor = (one / other).floor();
    Ok(Val::Float(match operator {
        Operator::Add => one + other,
        Operator::Subtract => one - other,
        Operator::Multiply => one * other,
        Operator::Divide => one / other,
        Operator::FloorDivide => floor,
        Operator::Remainder => {
            let rest = one % other;
            if rest != 0.0 && (rest < 0.0) != (other < 0.0) { rest + other } else { rest }
        }
        Operator::Power => one.powf(other),
    }))
}
