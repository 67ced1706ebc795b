//! Configurations that are wrong: exit status 78, the place, and nothing is started.

use super::directory::Directory;
use super::server::Finished;

const GOOD: &str = "[listener.a]\nkind = \"blackhole\"\nbind = \"127.0.0.1:0\"\n";

/// Runs the program on a configuration, with and without `--check`.
#[track_caller]
fn refused_at(text: &str, place_and_key: &str) {
    let directory = Directory::new();
    let path = directory.write("wrong.toml", text);
    for check in [&[][..], &["--check"]] {
        let mut arguments = vec!["--config", path.to_str().unwrap()];
        arguments.extend(check);
        let run = Finished::of(&arguments);
        assert_eq!(run.status.code(), Some(78), "{run:?}");
        let wanted = format!("{}:{place_and_key}", path.display());
        assert!(run.errors.lines().any(|line| line.starts_with(&wanted)), "{wanted} in {run:?}");
        assert!(!run.output.contains("is ready"), "{run:?}");
    }
}

#[test]
fn the_place_and_the_key_are_named() {
    refused_at(&format!("{GOOD}colour = \"black\"\n"), "4:1: listener.a.colour: ");
    refused_at(&GOOD.replace("127.0.0.1:0", "127.0.0.1"), "3:8: listener.a.bind: ");
    refused_at(&GOOD.replace("blackhole", "blackhle"), "2:8: listener.a.kind: ");
    refused_at(&format!("{GOOD}idle_timeout_s = 0\n"), "4:18: listener.a.idle_timeout_s: ");
    refused_at("[listener.a]\nkind = \"blackhole\"\n", "1:11: listener.a.bind: ");
    refused_at("[listener.a]\nkind = 'blackhole'\nbind = '*:25'\n", "3:8: listener.a.bind: ");
    refused_at("[listener.a\n", "1:");
    let public = "[listener.a]\nkind = 'public'\nbind = '*:25'\nsink = 'store'\nrecipients = 'ALL'\n";
    refused_at(public, "4:8: listener.a.sink: ");
    refused_at(public, "5:14: listener.a.recipients: ");
}

/// What only a program can run that embeds the library.
#[test]
fn a_sink_that_a_program_reads_has_none_here() {
    let directory = Directory::new();
    let text = "[listener.a]\nkind = 'private'\nbind = '127.0.0.1:0'\nsink = 'app'\n[sink.app]\nkind = 'program'\n";
    let path = directory.write("program.toml", text);
    for check in [&[][..], &["--check"]] {
        let run = Finished::of([&["--config", path.to_str().unwrap()], check].concat());
        assert_eq!(run.status.code(), Some(78), "{run:?}");
        assert!(run.errors.starts_with("ringmx: sink.app: nobody would take the mail of a sink of kind \"program\""));
        assert!(!run.output.contains("is ready"), "{run:?}");
    }
}

/// What a configuration amounts to names where mail goes, relative to the file, and a sink that nobody uses.
#[test]
fn a_check_shows_where_mail_goes() {
    let directory = Directory::new();
    let text = "[listener.a]\nkind = 'public'\nbind = '127.0.0.1:0'\nsink = 'store'\nrecipients = 'ok.test'\n\
                [sink.store]\nkind = 'maildir'\npath = 'mail/{domain}/{local}'\n[sink.other]\nkind = 'blackhole'\n";
    let path = directory.write("mx.toml", text);
    let run = Finished::of(["--config", path.to_str().unwrap(), "--check"]);
    assert!(run.status.success(), "{run:?}");
    let data = path.parent().unwrap().join("data");
    let path = format!("{}/mail/{{domain}}/{{local}}", data.display());
    for words in [&["path", &path][..], &["used", "by", "no", "listener:", "unused"], &["recipients", "ok.test"]] {
        let has = |line: &str| line.split_whitespace().eq(words.iter().copied());
        assert!(run.output.lines().any(has), "{words:?} in {run:?}");
    }
    assert!(!data.exists(), "a check makes nothing");
}

#[test]
fn every_mistake_is_named_at_once() {
    let text = format!("[server]\nshards = -1\n{GOOD}colour = 1\nsize = 2\n");
    refused_at(&text, "2:10: server.shards: ");
    refused_at(&text, "6:1: listener.a.colour: ");
    refused_at(&text, "7:1: listener.a.size: ");
}

/// Each on its own, as an operator reads it.
#[test]
fn what_would_be_right_is_said() {
    let directory = Directory::new();
    for (lines, wanted) in [
        (
            "received_fields = 99",
            "4:19: listener.a.received_fields: 99 is out of range; 0 (no limit) or a whole number of fields from 100 to \
             4294967295 is wanted: RFC 5321 §6.3 allows no less",
        ),
        (
            "xclient = \"10.0.0.1/8\"",
            "4:11: listener.a.xclient: \"10.0.0.1/8\" has bits of a host behind its first 8; the netblock is \
             \"10.0.0.0/8\", the address alone \"10.0.0.1\"",
        ),
        (
            "proxy_timeout_s = 5",
            "4:19: listener.a.proxy_timeout_s: has no use without a PROXY header; proxy_protocol = true, or no such key",
        ),
        (
            "protocol = \"lmtp\"\nextensions = [\"PIPELINING\"]",
            "5:14: listener.a.extensions: the list has no \"ENHANCEDSTATUSCODES\", which LMTP must offer (RFC 2033 §5); \
             add \"ENHANCEDSTATUSCODES\", or leave the key out for all that there are",
        ),
        (
            "protocol = \"qmqp\"",
            "4:12: listener.a.protocol: \"qmqp\" is known but not part of this build yet; this build has \"smtp\" or \
             \"lmtp\"",
        ),
    ] {
        let path = directory.write("wrong.toml", format!("{GOOD}{lines}\n"));
        let run = Finished::of(["--config", path.to_str().unwrap(), "--check"]);
        assert_eq!(run.status.code(), Some(78), "{run:?}");
        assert!(run.errors.ends_with(&format!("{}:{wanted}", path.display())), "{wanted} in {run:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let run = Finished::of(["--config", "/nonexistent/ringmx.toml"]);
    assert_eq!(run.status.code(), Some(78), "{run:?}");
    assert!(run.errors.contains("/nonexistent/ringmx.toml"), "{run:?}");
}

#[test]
fn a_good_file_is_shown_and_nothing_is_started() {
    let directory = Directory::new();
    // On an address that is taken: a check does not touch it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let path = directory.write("good.toml", GOOD.replace("127.0.0.1:0", &address));
    let run = Finished::of(["--config", path.to_str().unwrap(), "--check"]);
    assert!(run.status.success(), "{run:?}");
    assert!(run.output.contains("listener a\n") && run.output.contains(&address), "{run:?}");
    assert!(run.output.contains("idle timeout") && !run.output.contains("is ready"), "{run:?}");
    assert!(run.errors.is_empty(), "{run:?}");
}

#[test]
fn the_embedded_default_is_good() {
    let run = Finished::of(["--check"]);
    assert!(
        run.status.success()
            && ["127.0.0.1:2525", "127.0.0.1:2526", "127.0.0.1:2527"].iter().all(|one| run.output.contains(one)),
        "{run:?}"
    );
}

#[test]
fn wrong_usage_has_a_status_of_its_own() {
    for arguments in [
        &["sink"][..],
        &["sink", "nowhere"],
        &["sink", "127.0.0.1:0", "--count", "1", "--for", "1s"],
        &["sink", "127.0.0.1:0", "--delay", "50"],
        &["sink", "127.0.0.1:0", "--data-dir", "x"],
        &["sink", "127.0.0.1:0", "--reject", "rcpt 5 451"],
        &["sink", "127.0.0.1:0", "--reject", "rcpt 5% 521"],
        &["sink", "127.0.0.1:0", "--reject", "auth 5% 451"],
        &["--colour"],
    ] {
        let run = Finished::of(arguments);
        assert_eq!(run.status.code(), Some(64), "{arguments:?}: {run:?}");
        assert!(!run.errors.is_empty(), "{arguments:?}");
    }
}

#[test]
fn real_mail_is_not_discarded_by_accident() {
    let run = Finished::of(["sink", ":25"]);
    assert_eq!(run.status.code(), Some(78), "{run:?}");
    assert!(run.errors.contains("real mail") && !run.output.contains("is ready"), "{run:?}");
}

#[test]
fn lmtp_is_not_for_the_port_of_smtp() {
    let run = Finished::of(["sink", "127.0.0.1:25", "--lmtp", "--discards-mail"]);
    assert_eq!(run.status.code(), Some(78), "{run:?}");
    let wanted = "listener.sink.bind: \"127.0.0.1:25\" is SMTP's port, where LMTP must not be spoken (RFC 2033 §5)";
    assert!(run.errors.contains(wanted) && !run.output.contains("is ready"), "{run:?}");
}
