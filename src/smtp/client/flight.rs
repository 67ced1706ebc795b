//! A transaction in flight: what was sent of it, what was answered, and what that makes of it.
//!
//! *Invariants*: replies come in the order of the commands, so what is awaited next follows from what was sent and what was
//! answered; nothing is kept for each command. *Does not* know what is sent next: that is `transmit`.

use crate::smtp::client::event::{Awaited, Fault, Outcome, Stage};
use crate::smtp::client::message::{Protocol, Recipients, Transfer};
use crate::smtp::client::reply::{Class, Verdict};

/// A command that has one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Unsent,
    Sent,
    Accepted,
    Refused,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u32,
    protocol: Protocol,
    transfer: Transfer,
    rule: Recipients,
    pub(super) mail: Asked,
    pub(super) recipients_sent: u32,
    recipients_answered: u32,
    /// Recipients accepted at RCPT.
    pub(super) accepted: u32,
    /// Of the last recipient that was refused.
    recipients_verdict: Option<Verdict>,
    /// DATA.
    pub(super) data: Asked,
    /// Chunks announced, and answered, without the last.
    pub(super) chunks_sent: u32,
    chunks_answered: u32,
    /// Whether the last chunk was announced: it may be refused before all of it has come.
    pub(super) is_last_chunk_sent: bool,
    /// Whether all of the content was given out, with its end.
    pub(super) is_given: bool,
    ends_answered: u32,
    /// Recipients accepted at the end of data.
    delivered: u32,
    /// The first refusal of all but recipients.
    pub(super) refused: Option<(Stage, Verdict)>,
    pub(super) is_abandoned: bool,
    /// Whether nothing more will be sent.
    pub(super) is_sent: bool,
}

impl Flight {
    pub(super) fn new(number: u32, protocol: Protocol, transfer: Transfer, rule: Recipients) -> Self {
        Self {
            number,
            protocol,
            transfer,
            rule,
            mail: Asked::Unsent,
            recipients_sent: 0,
            recipients_answered: 0,
            accepted: 0,
            recipients_verdict: None,
            data: Asked::Unsent,
            chunks_sent: 0,
            chunks_answered: 0,
            is_last_chunk_sent: false,
            is_given: false,
            ends_answered: 0,
            delivered: 0,
            refused: None,
            is_abandoned: false,
            is_sent: false,
        }
    }

    /// The reply that comes next.
    #[inline]
    pub(super) fn awaits(&self) -> Option<Awaited> {
        if self.mail == Asked::Sent {
            Some(Awaited::Mail)
        } else if self.recipients_answered < self.recipients_sent {
            Some(Awaited::Rcpt)
        } else if self.data == Asked::Sent {
            Some(Awaited::Data)
        } else if self.chunks_answered < self.chunks_sent {
            Some(Awaited::Block)
        } else if (self.is_given || self.is_last_chunk_sent) && self.ends_answered < self.ends() {
            Some(Awaited::EndOfData)
        } else {
            None
        }
    }

    /// Replies to the end of data. LMTP: one for each accepted recipient (RFC 2033 §4.2); a last chunk without any is
    /// refused like any other command.
    fn ends(&self) -> u32 {
        match self.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => self.accepted.max(1),
        }
    }

    /// Whether nothing more is sent or answered.
    pub(super) fn is_done(&self) -> bool {
        self.is_sent && self.awaits().is_none()
    }

    /// All of the content was given out, with its end.
    pub(super) fn give(&mut self) {
        (self.is_given, self.is_sent) = (true, true);
    }

    /// Whether every RCPT that was sent is answered.
    pub(super) fn are_recipients_known(&self) -> bool {
        self.mail != Asked::Sent && self.recipients_answered == self.recipients_sent
    }

    /// Whether content can reach nobody, as far as is known.
    pub(super) fn is_hopeless(&self) -> bool {
        self.refused.is_some() || (self.are_recipients_known() && self.accepted == 0)
    }

    /// Whether content can be announced only when every recipient's reply has come, and one is out.
    pub(super) fn must_know_recipients(&self) -> bool {
        self.rule == Recipients::All && !self.are_recipients_known()
    }

    /// Whether some recipients are refused of a message that goes to all or none.
    pub(super) fn is_spoilt(&self) -> bool {
        let is_any_refused = self.are_recipients_known() && self.accepted < self.recipients_answered;
        self.rule == Recipients::All && is_any_refused && self.accepted > 0 && !self.has_no_content()
    }

    /// Whether it ends behind RCPT.
    pub(super) fn has_no_content(&self) -> bool {
        self.transfer == Transfer::None
    }

    /// The number of the recipient whose reply comes next.
    pub(super) fn recipient(&self) -> u32 {
        self.recipients_answered
    }

    /// Takes the reply that was awaited.
    #[inline]
    pub(super) fn take(&mut self, awaited: Awaited, verdict: Verdict) -> Result<(), Fault> {
        let class = verdict.code.class();
        let expected = if awaited == Awaited::Data { Class::GoAhead } else { Class::Positive };
        let is_accepted = class == expected;
        if !is_accepted && matches!(class, Class::Positive | Class::GoAhead) {
            return Err(Fault::Unexpected(awaited, verdict.code));
        }
        let asked = if is_accepted { Asked::Accepted } else { Asked::Refused };
        match awaited {
            Awaited::Mail => {
                self.mail = asked;
                self.refuse_unless(is_accepted, Stage::Mail, verdict);
            }
            Awaited::Rcpt => {
                if is_accepted && self.mail == Asked::Refused {
                    return Err(Fault::AcceptedWithoutMail);
                }
                self.recipients_answered += 1;
                self.accepted += u32::from(is_accepted);
                if !is_accepted {
                    self.recipients_verdict = Some(verdict);
                }
            }
            Awaited::Data => {
                // RFC 2033 §4.2: LMTP has no reply to an end of data that nobody gets.
                if is_accepted && self.accepted == 0 && self.protocol == Protocol::Lmtp {
                    return Err(Fault::Unexpected(awaited, verdict.code));
                }
                self.data = asked;
                self.refuse_unless(is_accepted, Stage::Content, verdict);
            }
            Awaited::Block => {
                self.chunks_answered += 1;
                self.refuse_unless(is_accepted, Stage::Content, verdict);
            }
            _ => {
                if is_accepted && !self.is_given {
                    return Err(Fault::Unexpected(awaited, verdict.code));
                }
                self.ends_answered += 1;
                let recipients = if self.protocol == Protocol::Lmtp { self.accepted.min(1) } else { self.accepted };
                self.delivered += if is_accepted { recipients } else { 0 };
                self.refuse_unless(is_accepted, Stage::EndOfData, verdict);
            }
        }
        Ok(())
    }

    fn refuse_unless(&mut self, is_accepted: bool, stage: Stage, verdict: Verdict) {
        if !is_accepted && self.refused.is_none() {
            self.refused = Some((stage, verdict));
        }
    }

    /// 421 answers what was awaited: whatever that was, the transaction is refused with it.
    pub(super) fn close_with(&mut self, awaited: Awaited, verdict: Verdict) {
        let stage = match awaited {
            Awaited::Mail => Stage::Mail,
            Awaited::Rcpt => Stage::Recipients,
            Awaited::Data | Awaited::Block => Stage::Content,
            _ => Stage::EndOfData,
        };
        self.refuse_unless(false, stage, verdict);
    }

    /// What became of a transaction that is done.
    pub(super) fn outcome(&self) -> Outcome {
        let nobody = self.recipients_verdict.filter(|_| self.accepted == 0 && self.transfer != Transfer::None);
        if self.is_abandoned {
            return Outcome::Abandoned;
        }
        match (self.refused, nobody) {
            (Some((stage @ Stage::Mail, verdict)), _) => Outcome::Refused { stage, verdict },
            (_, Some(verdict)) => Outcome::Refused { stage: Stage::Recipients, verdict },
            // LMTP: some have it.
            (Some((Stage::EndOfData, _)), _) if self.delivered > 0 => Outcome::Accepted { recipients: self.delivered },
            (Some((stage, verdict)), _) => Outcome::Refused { stage, verdict },
            (None, None) if self.transfer == Transfer::None => Outcome::Verified { recipients: self.accepted },
            (None, None) => Outcome::Accepted { recipients: self.delivered },
        }
    }

    /// What became of a transaction that the session's end has cut off.
    pub(super) fn outcome_cut_off(&self) -> Outcome {
        let is_announced =
            self.is_sent || self.data != Asked::Unsent || self.chunks_sent > 0 || self.is_last_chunk_sent;
        let is_for_nobody = is_announced && self.are_recipients_known() && self.accepted == 0;
        let is_end_open = matches!(self.refused, None | Some((Stage::EndOfData, _)));
        if self.is_given && is_end_open && !is_for_nobody {
            Outcome::Undecided
        } else if self.is_abandoned || self.refused.is_some() || (is_for_nobody && self.transfer != Transfer::None) {
            self.outcome()
        } else {
            Outcome::Lost
        }
    }

    /// Whether the server may have the transaction open when all that was sent of it is acted on, as far as is known.
    pub(super) fn leaves_open(&self) -> bool {
        match (self.mail, self.transfer) {
            (Asked::Unsent | Asked::Refused, _) => false,
            // RFC 5321 §4.1.1.4: the end of mail data ends it, whatever is answered.
            (_, Transfer::Data) => !self.is_given,
            (_, Transfer::Chunks { .. }) => {
                !(self.is_done() && self.is_given && self.refused.is_none() && self.accepted > 0)
            }
            (_, Transfer::None) => true,
        }
    }

    /// Whether it is sent in chunks.
    pub(super) fn is_chunked(&self) -> bool {
        matches!(self.transfer, Transfer::Chunks { .. })
    }
}
