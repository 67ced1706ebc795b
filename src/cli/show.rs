//! Tables for people.

use std::fmt::Write as _;

use ringmx::config::{Bind, Plan, Protocol};
use ringmx::engine::Engine;
use ringmx::shard::control::SessionInfo;

/// Everything that is in force, listener by listener, sink by sink.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    let mut section = |title: &str, rows: &[(String, String)]| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{title}");
        for (what, value) in rows {
            let _ = writeln!(text, "  {what:<38} {value}");
        }
    };
    section("server", &plan.rows());
    for listener in plan.listeners() {
        section(&format!("listener {}", listener.name()), &plan.rows_of(listener));
    }
    for sink in plan.sinks() {
        section(&format!("sink {}", sink.name), &plan.sink_rows(sink));
    }
    text
}

/// What has just started: addresses, and a line to paste that sends a message to the first at which curl can: by SMTP over
/// TCP, without a PROXY header.
pub fn started(engine: &Engine) -> String {
    let mut text = String::new();
    for (listener, bind) in engine.listening() {
        let _ = writeln!(text, "ringmx: listener {listener} is ready on {bind}");
    }
    let for_curl = |name: &str| {
        let mut listeners = engine.plan().listeners().iter().filter(|listener| listener.name() == name);
        listeners.find(|listener| listener.protocol() == Protocol::Smtp && listener.scope().proxy_timeout_ms.is_none())
    };
    let tcp = engine.listening().find_map(|(name, bind)| match bind {
        Bind::Tcp(address) => for_curl(name).map(|listener| (listener, address)),
        Bind::Unix(_) => None,
    });
    if let Some((listener, address)) = tcp {
        // Whoever else is taken, a postmaster is (RFC 5321 §4.5.1).
        let takes_all = listener
            .destination()
            .is_none_or(|destination| destination.recipients().first.iter().any(|pattern| pattern == "ALL"));
        let recipient = if takes_all { "you@example.net" } else { "postmaster" };
        let host = match address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
            ip if ip.is_unspecified() => "[::1]".to_owned(),
            ip if ip.is_ipv6() => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        let _ = writeln!(
            text,
            "\nSend it a message:\n  printf 'Subject: hello\\r\\n\\r\\nhello\\r\\n' | curl -s smtp://{host}:{} \
             --mail-from me@example.net --mail-rcpt {recipient} -T -\n",
            address.port()
        );
    }
    text
}

/// Sessions, a line each.
pub fn sessions(sessions: &[SessionInfo]) -> String {
    let mut text = String::new();
    if sessions.is_empty() {
        return text;
    }
    let _ = writeln!(text, "  {:<12} {:<28} {:<10} {:>10} {:>10}", "listener", "peer", "phase", "age", "messages");
    for session in sessions {
        let peer = session.peer.map_or("(unix)".to_owned(), |peer| peer.to_string());
        let _ = writeln!(
            text,
            "  {:<12} {peer:<28} {:<10} {:>8.1} s {:>10}",
            session.listener,
            session.phase,
            session.age_ms as f64 / 1000.0,
            session.messages
        );
    }
    text
}
