//! The program as an MX: whose mail it takes, where it goes, what a 250 means when things go wrong.
//!
//! What it keeps is read from the maildirs as any reader would read it, and each message is compared whole.

mod crash;
mod lmtp;
mod recipients;
mod reloading;
mod starting;
mod stopping;
mod trace;
mod trouble;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::client::{Client, Reply};
use super::directory::Directory;
use super::maildir::{self, Told};
use super::server::Server;

const HOST: &str = "mx.example.net";

/// One public listener, and one maildir for everyone, `data/mail`.
fn configuration(durability: &str) -> String {
    format!(
        "[server]\nhostname = '{HOST}'\ndata_dir = 'data'\nshards = 2\nsink_threads = 2\n\
         [listener.mx]\nkind = 'public'\nbind = '127.0.0.1:0'\ndurability = '{durability}'\nrecipients = ['server.test']\n\
         sink = 'store'\n[sink.store]\nkind = 'maildir'\npath = 'mail'\n"
    )
}

/// Ready for MAIL, under the name that trace fields are checked for.
#[track_caller]
fn ready(address: SocketAddr) -> Client {
    Client::ready(address)
}

/// MAIL, RCPT for each, DATA, the content; gives the last reply.
#[track_caller]
fn deliver(client: &mut Client, to: &[&str], content: &str) -> Reply {
    client.say("MAIL FROM:<s@client.test>\r\n", "250");
    for to in to {
        client.say(format!("RCPT TO:<{to}>\r\n"), "250");
    }
    client.say("DATA\r\n", "354");
    client.send(content).expect("the server takes it");
    client.send(".\r\n").expect("the server takes it");
    client.reply().expect("there is a reply")
}

/// The id that a reply names; it must be a 250.
#[track_caller]
fn id_of(reply: &Reply) -> String {
    assert!(reply.is("250 2.0.0"), "{reply:?}");
    maildir::id_in_reply(&reply.text).unwrap_or_else(|| panic!("{reply:?} names the message")).to_owned()
}

/// What stands on top of a message of [`deliver`] with these recipients in one maildir.
fn told<'a>(to: &'a [&'a str]) -> Told<'a> {
    let only = if let [one] = to { Some(*one) } else { None };
    Told {
        from: "s@client.test",
        delivered_to: to,
        only,
        hello: "client.test",
        peer: "[127.0.0.1]",
        by: HOST,
        with: "ESMTP",
    }
}

/// What lies below the data directory.
fn below(directory: &Directory, path: &str) -> PathBuf {
    directory.path().join("data").join(path)
}

/// Puts a file where a directory is, so that not even root can write there. Gives where it was put.
#[track_caller]
fn put_aside(directory: &Path) -> PathBuf {
    let aside = directory.with_extension("aside");
    std::fs::write(&aside, "").expect("a file can be written");
    exchange(directory, &aside);
    aside
}

/// Makes that good again.
#[track_caller]
fn put_back(directory: &Path) {
    let aside = directory.with_extension("aside");
    exchange(directory, &aside);
    std::fs::remove_file(aside).expect("a file can be removed");
}

/// In one step, so that the program never finds nothing there, and makes a directory of its own.
#[track_caller]
fn exchange(one: &Path, other: &Path) {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("both are there");
}

/// The lines of the log of deliveries.
fn log(directory: &Directory) -> Vec<String> {
    let text = std::fs::read_to_string(below(directory, "deliveries.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Takes the directory, so that it outlives the server.
fn keep(server: &mut Server) -> Directory {
    std::mem::replace(&mut server.directory, Directory::new())
}
