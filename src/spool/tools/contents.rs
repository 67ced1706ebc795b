//! The contents of many messages, one after the other: what is known of a log, and what was read of it, is there for the next message of it.
//!
//! *Live or not*: what a log was like when it was opened may not be so any more. What cannot be had of it is looked for once more in the log
//! as it is now.

use crate::spool::scan::content::{ContentError, ContentReader};
use crate::spool::tools::log::Log;
use crate::spool::tools::message::{Message, Place};
use crate::spool::tools::survey::Survey;

/// A log, and what was read of it.
#[derive(Debug)]
struct Opened {
    log: Log,
    /// All of it, where it is a file.
    file: Option<String>,
    reader: ContentReader,
}

impl Opened {
    fn is_of(&self, place: &Place) -> bool {
        self.log.name == place.log && self.file.as_ref().is_none_or(|file| *file == place.segment)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Contents<'s> {
    survey: &'s Survey<'s>,
    opened: Option<Opened>,
    /// Logs that were opened.
    openings: u64,
}

impl<'s> Contents<'s> {
    /// Of messages of this spool.
    pub fn new(survey: &'s Survey<'s>) -> Self {
        Self { survey, opened: None, openings: 0 }
    }

    /// The content of a message, octet for octet. It is cheapest for those that lie in one log, in the order in which they lie there.
    pub fn of(&mut self, message: &Message) -> Result<Vec<u8>, ContentError> {
        let known = self.opened.take().filter(|opened| opened.is_of(&message.place));
        if let Some(mut known) = known {
            let read = read(&mut known, message);
            if !matches!(read, Err(ContentError::Gone(_) | ContentError::Checksum(_))) {
                self.opened = Some(known);
                return read;
            }
        }
        self.openings += 1;
        let (log, file) = self.survey.log_of(&message.place)?;
        let opened = self.opened.insert(Opened { log, file, reader: ContentReader::new()? });
        read(opened, message)
    }

    /// How often a log was opened.
    pub fn openings(&self) -> u64 {
        self.openings
    }
}

fn read(opened: &mut Opened, message: &Message) -> Result<Vec<u8>, ContentError> {
    let mut content = Vec::with_capacity(usize::try_from(message.content_octets()).unwrap_or_default());
    opened.log.content(&message.place.record, &mut opened.reader, |piece| content.extend_from_slice(piece))?;
    Ok(content)
}
