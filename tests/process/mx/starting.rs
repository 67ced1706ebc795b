//! What the program says of a configuration, and what it refuses to start on.

use super::{configuration, deliver, id_of, ready};
use crate::process::directory::Directory;
use crate::process::server::{Finished, Server};

/// Two processes on one data directory would give ids twice.
#[test]
fn a_data_directory_has_one_owner() {
    let server = Server::serve(&configuration("memory"), 1);
    let second = Finished::of(["--config".as_ref(), server.directory.path().join("ringmx.toml").as_os_str()]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    let said = format!("process {} uses it", server.pid());
    assert!(second.errors.contains(&said) && second.errors.contains("server.data_dir"), "{second:?}");
    // The first is none the worse for it.
    let mut client = ready(server.address());
    id_of(&deliver(&mut client, &["r@server.test"], "x\r\n"));
    client.quit();
    assert_eq!(server.stop().of_sink("store", "delivered"), 1);
}

/// Each effective value of an MX, and nothing is started or made.
#[test]
fn check_says_what_it_amounts_to() {
    let directory = Directory::new();
    let text = configuration("delivered") + "quota_bytes = 1048576\nline_ends = 'lf'\n[log]\ndeliveries = 'd.log'\n";
    let path = directory.write("ringmx.toml", text);
    let checked = Finished::of(["--check".as_ref(), "--config".as_ref(), path.as_os_str()]);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    let lines: Vec<String> =
        checked.output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let data = directory.path().join("data").display().to_string();
    for wanted in [
        &format!("data directory {data}"),
        &format!("log of deliveries {data}/d.log, 256 MiB at most; lines come together for 20 ms"),
        "listener mx",
        "kind public",
        "recipients server.test",
        "sink store",
        "used by mx",
        "kind maildir",
        &format!("path {data}/mail"),
        "quota 1 MiB, then 452",
        "line ends lf",
        "synced to stable storage yes",
        "extensions not kept BINARYMIME DSN",
        "The configuration is good.",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted:?} in\n{}", checked.output);
    }
    assert!(lines.iter().any(|line| line.starts_with("durability delivered: ")), "{}", checked.output);
    assert!(!directory.path().join("data").exists(), "nothing was made");
}

/// What is wrong is named with its place, and nothing is started.
#[test]
fn what_is_wrong_is_named() {
    let directory = Directory::new();
    let right = configuration("memory");
    for (wrong, said) in [
        (right.replace("sink = 'store'", "sink = 'stor'"), "did you mean \"store\"?"),
        (right.replace("sink = 'store'\n", ""), "listener.mx"),
        (right.replace("recipients = ['server.test']\n", ""), "listener.mx"),
        (right.replace("'maildir'", "'program'").replace("path = 'mail'\n", ""), "sink.store"),
        (right.replace("'memory'", "'discard'"), "listener.mx.durability"),
        (right.replace("'memory'", "'durably'"), "did you mean \"durable\"?"),
        (right.clone() + "[spool]\nsegment_bytes = 1\n", "spool.segment_bytes"),
        (right.replace("'maildir'", "'relay'"), "sink.store.kind"),
        (right + "line_end = 'lf'\n", "sink.store.line_end"),
    ] {
        let path = directory.write("ringmx.toml", &wrong);
        let refused = Finished::of(["--config".as_ref(), path.as_os_str()]);
        assert_eq!(refused.status.code(), Some(78), "{wrong}\n{refused:?}");
        assert!(refused.errors.contains(said), "{said:?} of\n{wrong}\n{refused:?}");
        assert!(!directory.path().join("data").exists(), "nothing was started");
    }
}

/// Its maildir or data directory cannot be used: nothing is started.
#[test]
fn what_cannot_be_written_is_named() {
    for (path, said) in
        [("data", "data"), ("data/mail", "data/mail"), ("data/identity", "the file identity begins with")]
    {
        let directory = Directory::new();
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, "").unwrap();
        let config = directory.write("ringmx.toml", configuration("memory"));
        let refused = Finished::of(["--config".as_ref(), config.as_os_str()]);
        assert_eq!(refused.status.code(), Some(73), "{path}: {refused:?}");
        assert!(refused.errors.contains(said), "{path}: {refused:?}");
    }
}
