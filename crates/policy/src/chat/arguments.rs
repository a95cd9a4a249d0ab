//! The arguments of a method or filter, taken by position or by name as in Python.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

/// The arguments of one call of a method or filter in a chat template, which are read one after the other.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Kwargs,
    /// Number of arguments that were read so far: the index of the positional argument that is read next.
    taken: usize,
}

impl Arguments {
    /// Takes the arguments of a method call as `minijinja` passes them: positional ones in their order, and then one
    /// value that holds all named ones, if there are any.
    pub fn new(arguments: &[Value]) -> Self {
        let (named, positional) = match arguments.split_last() {
            Some((last, rest)) if last.is_kwargs() => (last.clone(), rest),
            _ => (Value::UNDEFINED, arguments),
        };
        let named = Kwargs::try_from(named).unwrap_or_else(|_| std::iter::empty::<(String, Value)>().collect());
        Self::of_filter(positional.to_vec(), named)
    }

    /// Takes the arguments of a filter call, which `minijinja` passes already separated into positional and named ones.
    pub fn of_filter(positional: Vec<Value>, named: Kwargs) -> Self {
        Self { positional, named, taken: 0 }
    }

    /// Reads the next argument: the next positional one, or where there is none, the one called `name`. Returns `None`
    /// if it was not given or is Python's `None`.
    pub fn next(&mut self, name: &str) -> Result<Option<Value>, Error> {
        self.taken += 1;
        let given = match self.positional.get(self.taken - 1) {
            Some(value) => Some(value.clone()),
            None => self.named.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    }

    /// Reads the next argument as a text; `None` if it was not given. An argument of another type is an error.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        let text = |value: Value| {
            let text = value.as_str().map(str::to_owned);
            text.ok_or_else(|| wrong(&format!("the argument `{name}` is not a text")))
        };
        self.next(name)?.map(text).transpose()
    }

    /// Reads the next argument as an integer; `None` if it was not given. An argument of another type is an error.
    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Error> {
        self.next(name)?.map(i64::try_from).transpose()
    }

    /// Returns an error if the call has arguments that were not read, because the method or filter does not have them.
    pub fn end(&self) -> Result<(), Error> {
        if self.positional.len() > self.taken {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        self.named.assert_all_used()
    }
}

/// Makes the error of a call in a chat template whose result cannot be computed. `why` is the message.
pub(super) fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, why.to_owned())
}
