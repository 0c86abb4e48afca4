//! How a program ends, and how it says why.

use std::error::Error;
use std::io::Write;

/// The ends of a program, as documented in its help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked to.
    Done,
    /// It broke while it ran.
    Failed,
    /// It could not start.
    Refused,
    /// The cluster that it belongs to does not hold together.
    Lost,
    /// Another start of the pipeline has taken over.
    Superseded,
    /// It could not start in time, as something that it needs is away.
    Away,
}

impl Outcome {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Lost => 3,
            Self::Superseded => 4,
            Self::Away => 5,
        }
    }
}

/// The exit code of a program that was interrupted a second time.
pub(crate) const INTERRUPTED: i32 = 130;

/// Prints errors on standard error, one line each.
pub(crate) fn print_errors<'e>(errors: impl IntoIterator<Item = &'e str>) {
    let mut stderr = std::io::stderr().lock();
    for error in errors {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(stderr, "error: {}", one_line(error));
    }
}

/// Prints on standard output; a reader who has gone away, such as `head`, is no error.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// An error with its causes, leaving out those that its own message repeats.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        cause = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load the model")]
    struct Load(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot load the model: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn causes_are_told_once() {
        let cause = || std::io::Error::other("disk on fire");
        let expected = "cannot load the model: disk on fire";
        assert_eq!(with_causes(&Load(cause())), expected);
        assert_eq!(with_causes(&Repeating(cause())), expected);
    }

    #[test]
    fn an_error_takes_one_line() {
        assert_eq!(
            one_line("bad model\n  input `x`: missing\n"),
            "bad model; input `x`: missing"
        );
    }
}
