//! Who the client is and who can read along: STARTTLS (RFC 3207), AUTH (RFC 4954), XCLIENT.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::smtp::line::{is_blank, trim};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::Effect;
use crate::smtp::session::machine::{Machine, Phase, Reading};
use crate::smtp::session::question::{Asking, Credentials, Mechanism, Question};
use crate::smtp::settings::{Settings, Synchronization};

/// What the next line of an AUTH exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// RFC 4616 §2: who, who, and the password.
    Plain,
    /// LOGIN's first.
    Username,
    /// LOGIN's second.
    Password,
}

impl Machine {
    pub(super) fn start_tls<'a>(
        &mut self,
        argument: &[u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if self.is_secure {
            return self.bad_command(Reply::TlsActive, settings, replies);
        }
        if behind {
            // In every mode: it would be answered within TLS as if the client had sent it there.
            self.refuse(settings, Reply::InjectedBehindStartTls, replies);
            return Effect::Close;
        }
        if !is_blank(argument) {
            return self.bad_argument(argument, settings, replies);
        }
        self.phase = Phase::Upgrading;
        Effect::StartTls
    }

    pub(super) fn auth<'a>(
        &'a mut self,
        argument: &[u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if self.is_ahead(behind, settings, replies) {
            return Effect::Close;
        }
        if !self.is_secure {
            return self.bad_command(Reply::AuthNeedsTls, settings, replies);
        }
        if self.is_authenticated {
            return self.bad_command(Reply::AlreadyAuthenticated, settings, replies);
        }
        let mut words = trim(argument).splitn(2, |octet| *octet == b' ');
        let (name, initial) = (words.next().unwrap_or_default(), words.next().map(trim));
        let (mechanism, exchange, challenge) = if name.eq_ignore_ascii_case(b"PLAIN") {
            (Mechanism::Plain, Exchange::Plain, Reply::AuthContinue)
        } else if name.eq_ignore_ascii_case(b"LOGIN") {
            (Mechanism::Login, Exchange::Username, Reply::AuthUsername)
        } else if name.is_empty() {
            return self.bad_argument(argument, settings, replies);
        } else {
            return self.bad_command(Reply::UnknownMechanism, settings, replies);
        };
        self.record.get_or_insert_default().credentials = Some(Credentials {
            mechanism,
            authorization_id: Vec::new(),
            authentication_id: Vec::new(),
            password: Vec::new(),
        });
        match initial {
            // RFC 4954 §4: an initial response of no octets.
            Some(b"=") => self.take_response(exchange, b"", settings, replies),
            Some(initial) => self.take_response(exchange, initial, settings, replies),
            None => {
                self.reading = Reading::Responses(exchange);
                self.give(settings, challenge, replies);
                Effect::Continue
            }
        }
    }

    /// Acts on a line of an AUTH exchange.
    pub(super) fn respond<'a>(
        &'a mut self,
        exchange: Exchange,
        line: &[u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        self.reading = Reading::Commands;
        if self.is_ahead(behind, settings, replies) {
            return Effect::Close;
        }
        if trim(line) == b"*" {
            self.forget_credentials();
            return self.bad_command(Reply::AuthCancelled, settings, replies);
        }
        self.take_response(exchange, trim(line), settings, replies)
    }

    fn take_response<'a>(
        &'a mut self,
        exchange: Exchange,
        response: &[u8],
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let credentials = self.record.as_mut().and_then(|record| record.credentials.as_mut());
        let (Ok(octets), Some(credentials)) = (STANDARD.decode(response), credentials) else {
            self.forget_credentials();
            return self.bad_command(Reply::AuthBadResponse, settings, replies);
        };
        match exchange {
            Exchange::Plain => {
                let mut parts = octets.split(|octet| *octet == 0).map(<[u8]>::to_vec);
                let (Some(authorization_id), Some(authentication_id), Some(password), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    self.forget_credentials();
                    return self.bad_command(Reply::AuthBadResponse, settings, replies);
                };
                if authentication_id.is_empty() || password.is_empty() {
                    self.forget_credentials();
                    return self.bad_command(Reply::AuthBadResponse, settings, replies);
                }
                let mechanism = Mechanism::Plain;
                *credentials = Credentials { mechanism, authorization_id, authentication_id, password };
            }
            Exchange::Username => {
                credentials.authentication_id = octets;
                self.reading = Reading::Responses(Exchange::Password);
                self.give(settings, Reply::AuthPassword, replies);
                return Effect::Continue;
            }
            Exchange::Password => credentials.password = octets,
        }
        self.asking = Some(Asking::Auth);
        match self.record.as_ref().and_then(|record| record.credentials.as_ref()) {
            Some(credentials) => Effect::Ask(Question::Auth(credentials)),
            None => unreachable!("they were just completed"),
        }
    }

    pub(super) fn forget_credentials(&mut self) {
        if let Some(record) = &mut self.record {
            record.credentials = None;
        }
    }

    pub(super) fn xclient<'a>(
        &mut self,
        argument: &'a [u8],
        behind: bool,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if is_blank(argument) {
            return self.bad_argument(argument, settings, replies);
        }
        if self.is_ahead(behind, settings, replies) {
            return Effect::Close;
        }
        if self.count_junk(settings, replies) {
            return Effect::Close;
        }
        self.ask(Asking::Xclient, Question::Xclient { attributes: trim(argument) })
    }

    /// Whether the client ran ahead where it must not, and the session has ended for it.
    fn is_ahead(&mut self, behind: bool, settings: &Settings, replies: &mut Replies) -> bool {
        let is_ahead = behind && settings.terms().synchronization == Synchronization::Strict;
        if is_ahead {
            self.refuse(settings, Reply::UnauthorisedPipelining, replies);
        }
        is_ahead
    }
}
