//! Which verb is legal when: the whole order of commands (RFC 5321 §4.1.4, RFC 3030 §2) on one screen.

use crate::smtp::command::Verb;
use crate::smtp::reply::Reply;
use crate::smtp::settings::Dialect;

/// Where a session stands: the columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Column {
    /// Greeted; no EHLO or HELO yet.
    Start,
    /// No transaction.
    Idle,
    /// MAIL accepted or being decided, no RCPT yet.
    Mail,
    /// Every RCPT so far was refused.
    Refused,
    /// At least one recipient accepted or being decided.
    Rcpt,
    /// At least one chunk was announced.
    Chunks,
    /// The greeting was a 554.
    NoService,
}

impl Column {
    /// How many there are.
    pub const COUNT: usize = Self::NoService as usize + 1;

    /// As listings show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Idle => "idle",
            Self::Mail => "mail",
            Self::Refused => "refused",
            Self::Rcpt => "rcpt",
            Self::Chunks => "chunks",
            Self::NoService => "no-service",
        }
    }
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The verb is acted on.
    Act,
    /// It is refused, whatever its argument.
    Refuse(Reply),
}

/// What the table says. LMTP differs where every recipient was refused: RFC 2033 §4.2.
pub const fn rule(verb: Verb, column: Column, dialect: Dialect) -> Rule {
    match (TABLE[verb as usize][column as usize], dialect) {
        (NONE, Dialect::Lmtp) => NOBODY,
        (rule, _) => rule,
    }
}

const DO: Rule = Rule::Act;
const EHLO: Rule = Rule::Refuse(Reply::HelloFirst);
const MAIL: Rule = Rule::Refuse(Reply::MailFirst);
const RCPT: Rule = Rule::Refuse(Reply::RcptFirst);
const NONE: Rule = Rule::Refuse(Reply::NoValidRecipients);
const NOBODY: Rule = Rule::Refuse(Reply::NobodyToTakeIt);
const NEST: Rule = Rule::Refuse(Reply::NestedMail);
const CHNK: Rule = Rule::Refuse(Reply::WithinChunks);
const OPEN: Rule = Rule::Refuse(Reply::WithinTransaction);
const GONE: Rule = Rule::Refuse(Reply::NoService);
const N502: Rule = Rule::Refuse(Reply::NotImplemented);
const U500: Rule = Rule::Refuse(Reply::UnknownCommand);
const L500: Rule = Rule::Refuse(Reply::BadLine);

#[rustfmt::skip]
const TABLE: [[Rule; Column::COUNT]; Verb::COUNT] = [
    //            Start Idle  Mail  Refu. Rcpt  Chunks NoService
    /* Ehlo    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Helo    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Mail    */ [EHLO, DO,   NEST, NEST, NEST, CHNK, GONE],
    /* Rcpt    */ [EHLO, MAIL, DO,   DO,   DO,   CHNK, GONE],
    /* Data    */ [EHLO, MAIL, RCPT, NONE, DO,   CHNK, GONE],
    /* Bdat    */ [EHLO, MAIL, RCPT, NONE, DO,   DO,   GONE],
    /* Rset    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Noop    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Vrfy    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Help    */ [DO,   DO,   DO,   DO,   DO,   DO,   GONE],
    /* Quit    */ [DO,   DO,   DO,   DO,   DO,   DO,   DO  ],
    /* Lhlo    */ [U500, U500, U500, U500, U500, U500, GONE],
    /* StartTls*/ [EHLO, DO,   OPEN, OPEN, OPEN, OPEN, GONE],
    /* Auth    */ [EHLO, DO,   OPEN, OPEN, OPEN, OPEN, GONE],
    /* Xclient */ [DO,   DO,   OPEN, OPEN, OPEN, OPEN, GONE],
    /* Absent  */ [N502, N502, N502, N502, N502, N502, GONE],
    /* Http    */ [DO,   DO,   DO,   DO,   DO,   DO,   DO  ],
    /* Blank   */ [L500, L500, L500, L500, L500, L500, GONE],
    /* Unknown */ [U500, U500, U500, U500, U500, U500, GONE],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_verbs() {
        assert_eq!(rule(Verb::Mail, Column::Start, Dialect::Smtp), EHLO);
        assert_eq!(rule(Verb::Bdat, Column::Chunks, Dialect::Smtp), DO);
        assert_eq!(rule(Verb::Data, Column::Refused, Dialect::Smtp), NONE);
        assert_eq!(rule(Verb::Quit, Column::NoService, Dialect::Smtp), DO);
        assert_eq!(rule(Verb::Absent, Column::Idle, Dialect::Smtp), N502);
        assert_eq!(rule(Verb::Blank, Column::Start, Dialect::Smtp), L500);
        assert_eq!(rule(Verb::Unknown, Column::Rcpt, Dialect::Smtp), U500);
        assert_eq!(rule(Verb::Xclient, Column::Start, Dialect::Smtp), DO);
        assert_eq!(rule(Verb::Bdat, Column::Refused, Dialect::Lmtp), NOBODY);
    }
}
