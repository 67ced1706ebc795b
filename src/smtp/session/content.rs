//! Content: mail data and chunks, to their true end, whatever becomes of the message.

use crate::mail::trace::{Transfer, With};
use crate::smtp::chunk::{ChunkDecoder, ChunkMarks};
use crate::smtp::command::Chunk;
use crate::smtp::data::{BareNewline, DataStep, Marks};
use crate::smtp::reply::{Replies, Reply};
use crate::smtp::session::Effect;
use crate::smtp::session::machine::{Machine, Phase, Reading, Receiving};
use crate::smtp::session::question::{Asking, Ended, Question};
use crate::smtp::settings::{Dialect, Nul, Settings, Terms};

impl Machine {
    /// From now on the transaction's content comes.
    pub(super) fn begin_content(&mut self, refusal: Option<Reply>) {
        let Phase::Open(transaction) = self.phase else { unreachable!("recipients were given") };
        let chunk_marks = ChunkMarks::default();
        self.phase = Phase::Receiving(Receiving { transaction, octets: 0, chunk_marks, refusal });
        if let Some(record) = &mut self.record {
            record.forget_lines();
        }
    }

    #[inline]
    pub(super) fn read_data<'a, 'i: 'a>(
        &'a mut self,
        settings: &Settings,
        input: &mut &'i [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let (Reading::Data(decoder), Phase::Receiving(receiving)) = (&mut self.reading, &mut self.phase) else {
            unreachable!("mail data is read within a transaction")
        };
        match decoder.step(input) {
            DataStep::NeedInput => Effect::NeedInput,
            DataStep::Content(piece) => {
                receiving.octets += piece.len() as u64;
                if receiving.octets <= settings.terms().message_size_bytes {
                    if let Some(record) = &mut self.record {
                        record.see_lines(piece, settings.terms());
                    }
                    return Effect::Content(piece);
                }
                if receiving.octets > settings.discard_octets() {
                    self.refuse(settings, Reply::MessageTooBig, replies);
                    return Effect::Close;
                }
                match receiving.refusal.replace(Reply::MessageTooBig) {
                    None => Effect::Abort,
                    Some(_) => Effect::Continue,
                }
            }
            DataStep::End => {
                let marks = decoder.marks();
                self.end_message(marks, refused_line_ends(marks, settings.terms()), settings, replies)
            }
        }
    }

    /// A chunk of a transaction that may have chunks was announced.
    pub(super) fn begin_chunk<'a>(&mut self, chunk: Chunk, settings: &Settings, replies: &mut Replies) -> Effect<'a> {
        let Phase::Receiving(receiving) = &mut self.phase else { unreachable!("chunks are received in a transaction") };
        receiving.octets = receiving.octets.saturating_add(chunk.octets);
        let octets = receiving.octets;
        let was_refused = receiving.refusal.is_some();
        if octets > settings.terms().message_size_bytes {
            receiving.refusal.get_or_insert(Reply::MessageTooBig);
        }
        let Some(reply) = receiving.refusal else {
            self.reading = Reading::Chunk { decoder: ChunkDecoder::new(chunk.octets), last: chunk.last };
            return Effect::Continue;
        };
        match self.swallow(chunk, octets, reply, settings, replies) {
            Effect::Continue if !was_refused => Effect::Abort,
            effect => effect,
        }
    }

    /// A chunk is refused: its octets are read and thrown away, unless they, or those of the whole message, are too many
    /// to wait for.
    pub(super) fn swallow<'a>(
        &mut self,
        chunk: Chunk,
        octets: u64,
        reply: Reply,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        if octets > settings.discard_octets() || reply.closes() {
            self.refuse(settings, reply, replies);
            return Effect::Close;
        }
        self.reading = Reading::RefusedChunk { decoder: ChunkDecoder::new(chunk.octets), last: chunk.last, reply };
        Effect::Continue
    }

    #[inline]
    pub(super) fn read_chunk<'a, 'i: 'a>(
        &'a mut self,
        settings: &Settings,
        input: &mut &'i [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let (Reading::Chunk { decoder, last }, Phase::Receiving(receiving)) = (&mut self.reading, &mut self.phase)
        else {
            unreachable!("a chunk that is not refused is read within a transaction")
        };
        let piece = decoder.take(input);
        if !piece.is_empty() {
            if settings.terms().looks_into_chunks() {
                receiving.chunk_marks.see(piece);
            }
            if let Some(record) = &mut self.record {
                record.see_lines(piece, settings.terms());
            }
            return Effect::Content(piece);
        }
        if !decoder.is_done() {
            return Effect::NeedInput;
        }
        if *last {
            let marks = receiving.chunk_marks.at_end();
            return self.end_message(marks, None, settings, replies);
        }
        self.reading = Reading::Commands;
        self.give(settings, Reply::Ok, replies);
        Effect::Continue
    }

    pub(super) fn read_refused_chunk<'a>(
        &mut self,
        settings: &Settings,
        input: &mut &'a [u8],
        replies: &mut Replies,
    ) -> Effect<'a> {
        let Reading::RefusedChunk { decoder, last, reply } = &mut self.reading else {
            unreachable!("a refused chunk is being read")
        };
        decoder.take(input);
        if !decoder.is_done() {
            return Effect::NeedInput;
        }
        let (last, reply) = (*last, *reply);
        self.reading = Reading::Commands;
        if matches!(self.phase, Phase::Receiving(_)) {
            // A pipelining client cannot know that the message is refused: no chunk of it is a mistake.
            match self.phase {
                Phase::Receiving(receiving) if last => {
                    self.phase = Phase::Idle;
                    self.give_message(settings, reply, receiving.transaction.recipients, replies);
                }
                _ => self.give(settings, reply, replies),
            }
        } else {
            // The client's last word on this message: it will not come back to it (RFC 3030 §2). Where there are no chunks, it
            // was no word at all.
            if last && reply != Reply::NotImplemented && matches!(self.phase, Phase::Open(_)) {
                self.phase = Phase::Idle;
            }
            self.give_refusal(settings, reply, replies);
        }
        Effect::Continue
    }

    /// The whole content has come: it is refused, for an earlier reason or for what was seen in it, or asked about.
    fn end_message<'a>(
        &'a mut self,
        marks: Marks,
        line_ends: Option<Reply>,
        settings: &Settings,
        replies: &mut Replies,
    ) -> Effect<'a> {
        let Phase::Receiving(receiving) = self.phase else { unreachable!("content ends within a transaction") };
        self.phase = Phase::Idle;
        self.reading = Reading::Commands;
        let nul = (marks.nul && settings.terms().nul == Nul::Reject).then_some(Reply::NulInData);
        // Of a message that is too big, no more lines were seen than the cuts of the input would have it.
        let lines = || self.record.as_ref()?.refused_lines(settings.terms());
        let mistake = line_ends.or(nul).or_else(|| if receiving.refusal.is_none() { lines() } else { None });
        let recipients = receiving.transaction.recipients;
        match (mistake, receiving.refusal) {
            (None, None) => {
                self.messages += 1;
                let ended = Ended {
                    content_octets: receiving.octets,
                    recipients,
                    marks,
                    with: With {
                        transfer: match settings.terms().dialect {
                            Dialect::Smtp => Transfer::Smtp,
                            Dialect::Lmtp => Transfer::Lmtp,
                        },
                        extended: self.is_extended,
                        secure: self.is_secure,
                        authenticated: self.is_authenticated,
                        utf8: receiving.transaction.smtputf8,
                    },
                    record: self.record.as_deref().filter(|_| settings.terms().keeps_record()),
                };
                self.asking = Some(Asking::EndOfData { recipients, octets: receiving.octets });
                Effect::Ask(Question::EndOfData(ended))
            }
            (Some(reply), refusal) => {
                self.give_message(settings, reply, recipients, replies);
                self.count_error(settings, replies);
                if reply == Reply::FalseEndOfData {
                    self.close();
                }
                if refusal.is_none() { Effect::Abort } else { Effect::Continue }
            }
            (None, Some(reply)) => {
                self.give_message(settings, reply, recipients, replies);
                Effect::Continue
            }
        }
    }
}

/// Why mail data with these marks is refused for its line ends. Chunks may have any.
fn refused_line_ends(marks: Marks, terms: &Terms) -> Option<Reply> {
    if marks.false_end {
        Some(Reply::FalseEndOfData)
    } else if (marks.bare_lf || marks.bare_cr) && terms.bare_newline == BareNewline::Reject {
        Some(Reply::BareNewlineInData)
    } else {
        None
    }
}
