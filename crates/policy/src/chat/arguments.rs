//! The arguments of a method or filter, taken by position or by name as in Python.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

/// The arguments of one call.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Kwargs,
    /// Number of positional arguments that were taken.
    taken: usize,
}

impl Arguments {
    /// The arguments in the order of the call; those with names come last, as one value.
    pub fn new(arguments: &[Value]) -> Self {
        let (named, positional) = match arguments.split_last() {
            Some((last, rest)) if last.is_kwargs() => (last.clone(), rest),
            _ => (Value::UNDEFINED, arguments),
        };
        let named = Kwargs::try_from(named).unwrap_or_else(|_| std::iter::empty::<(String, Value)>().collect());
        Self::of_filter(positional.to_vec(), named)
    }

    /// The arguments of a filter, which `minijinja` has sorted already.
    pub fn of_filter(positional: Vec<Value>, named: Kwargs) -> Self {
        Self { positional, named, taken: 0 }
    }

    /// The next argument; `None` if it was not given or is Python's `None`.
    pub fn next(&mut self, name: &str) -> Result<Option<Value>, Error> {
        self.taken += 1;
        let given = match self.positional.get(self.taken - 1) {
            Some(value) => Some(value.clone()),
            None => self.named.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    }

    /// The next argument as a text; `None` if it was not given.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let text =
            |value: Value| value.as_str().map(str::to_owned).ok_or_else(|| wrong(&format!("`{name}` is no text")));
        self.next(name)?.map(text).transpose()
    }

    /// The next argument as an integer; `None` if it was not given.
    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.next(name)?.map(i64::try_from).transpose()
    }

    /// An error if there are arguments that were not taken.
    pub fn end(&self) -> Result<(), Error> {
        if self.positional.len() > self.taken {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        self.named.assert_all_used()
    }
}

/// The error for a call that cannot be answered.
pub(super) fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.to_owned())
}
