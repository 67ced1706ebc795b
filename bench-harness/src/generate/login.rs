//! Who the generator says it is, with AUTH PLAIN (RFC 4616). The secret is never shown.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use ringmx::smtp::client::Credentials;

use super::arguments::RunArguments;
use crate::failure::Failure;

/// See the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

impl Login {
    /// What the arguments say: the login itself, a file that has it in its first line, or a variable.
    pub fn of(options: &RunArguments) -> Result<Option<Self>, Failure> {
        let read = |text: &str, place: String| {
            text.parse().map(Some).map_err(|wrong| Failure::Usage(format!("{place}: {wrong}")))
        };
        match (&options.auth, &options.auth_file, &options.auth_env) {
            (Some(login), ..) => Ok(Some(login.clone())),
            (None, Some(file), _) => read(&first_line(file)?, file.display().to_string()),
            (None, None, Some(name)) => {
                let missing = |_| Failure::Unavailable(format!("there is no variable {name}, or it is not text"));
                read(&std::env::var(name).map_err(missing)?, format!("variable {name}"))
            }
            (None, None, None) => Ok(None),
        }
    }

    /// For the client's session.
    pub fn credentials(&self) -> Credentials<'_> {
        Credentials::Plain { authorization: "", user: &self.user, password: &self.password }
    }
}

fn first_line(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Unavailable(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl FromStr for Login {
    type Err = String;

    /// `user:password`; the password may have colons, neither has a NUL (RFC 4616 §2).
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() && !text.contains('\0') => {
                Ok(Self { user: user.to_owned(), password: password.to_owned() })
            }
            _ => Err("this is no USER:PASSWORD".to_owned()),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read_and_its_secret_is_not_shown() {
        let login: Login = "me@a.test:se:cret".parse().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("me@a.test", "se:cret"));
        assert!(!format!("{login:?}").contains("cret"));
        for wrong in ["", "me", "me:", ":secret", "me:se\0cret"] {
            assert_eq!(
                wrong.parse::<Login>(),
                Err("this is no USER:PASSWORD".to_owned()),
                "what is wrong is not shown"
            );
        }
    }
}
