//! `ringmx spool export`: messages as files of their own, or as an mbox on standard output.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use ringmx::mail::id::MessageId;
use ringmx::spool::scan::content::ContentError;
use ringmx::spool::tools::contents::Contents;
use ringmx::spool::tools::export;
use ringmx::spool::tools::message::Message;

use super::arguments::ExportArguments;
use super::ls::{is_closed, printing};
use super::{Place, all_found, counted};
use crate::cli::failure::Failure;
use crate::cli::say;

/// See the module. A message that waits in several places is written once, for the first.
pub fn export(place: &Place, options: &ExportArguments) -> Result<(), Failure> {
    let filter = options.which.filter.filter(&options.which.ids, &options.sink);
    let is_mbox = options.to.as_os_str() == "-";
    if !is_mbox {
        fs::create_dir_all(&options.to).map_err(Failure::writing(&options.to))?;
    }
    let survey = place.survey();
    let mut contents = Contents::new(&survey);
    let (mut written, mut broken) = (BTreeSet::new(), 0_u64);
    let mut out = BufWriter::new(io::stdout().lock());
    let exported = place.each(&filter, |_, message, progress| {
        let id = message.id();
        if written.contains(&id) {
            return Ok(());
        }
        let content = match contents.of(&message) {
            Ok(content) => content,
            Err(ContentError::Storage(error)) => return Err(error.into()),
            // The others can be had.
            Err(error) => {
                progress.wipe();
                say::error(&Failure::Content { id: id.to_string(), error }.to_string());
                broken += 1;
                return Ok(());
            }
        };
        if is_mbox {
            export::write_mbox(&message, &content, &mut out).map_err(printing)?;
        } else {
            write_file(&options.to, id, &message, &content)?;
        }
        written.insert(id);
        Ok(())
    });
    match exported.and_then(|()| out.flush().map_err(printing)) {
        Err(failure) if is_closed(&failure) => return Ok(()),
        done => done?,
    }
    drop(out);
    say::error(&format!("ringmx: {} written", counted(written.len() as u64, "message")));
    all_found(&options.which.ids, &written)?;
    match broken {
        0 => Ok(()),
        _ => Err(Failure::Corruption(format!("{} not written, because of damage", counted(broken, "message")))),
    }
}

/// A file that is there stays; one that cannot be written whole does not.
fn write_file(directory: &Path, id: MessageId, message: &Message, content: &[u8]) -> Result<(), Failure> {
    let path = directory.join(format!("{id}.eml"));
    let mut file = File::create_new(&path).map_err(Failure::writing(&path))?;
    let mut write = || {
        file.write_all(&export::head(message))?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&path);
        Failure::writing(&path)(error)
    })
}
