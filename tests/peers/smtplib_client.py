"""Delivers to 127.0.0.1:PORT in several ways, and prints what it sent: MESSAGES RECIPIENTS OCTETS."""

import smtplib
import sys
from email.message import EmailMessage

port = int(sys.argv[1])
messages = recipients = octets = 0


def sent(to, content):
    """What is counted is content with its line ends made CRLF and the last line ended, without transparency."""
    global messages, recipients, octets
    messages += 1
    recipients += len(to)
    octets += len(content)


def connect():
    return smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=60)


TO = ["a@server.test", "b@server.test", "c@server.test"]

# Many messages on one connection, with lines that begin with dots.
with connect() as client:
    for number in range(100):
        content = b"Subject: %d\r\n\r\n.dot\r\n..dots\r\n.\r\n" % number + b"text\r\n" * number
        to = TO[: 1 + number % 3]
        assert client.sendmail("s@client.test", to, content) == {}
        sent(to, content)

# A connection for each, with HELO.
for number in range(20):
    with connect() as client:
        client.helo("client.test")
        content = b"Subject: helo\r\n\r\nhello\r\n"
        assert client.sendmail("", TO[:1], content) == {}
        sent(TO[:1], content)

# A message that the library makes itself, with an attachment of a few megabytes.
with connect() as client:
    assert client.has_extn("pipelining") or client.ehlo()[0] == 250
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "s@client.test", ", ".join(TO), "attached"
    message.set_content("See the attachment.\n")
    message.add_attachment(bytes(range(256)) * 12_000, maintype="application", subtype="octet-stream")
    assert client.send_message(message) == {}
    sent(TO, message.as_bytes(policy=message.policy.clone(utf8=False, linesep="\r\n")))

# Step by step, with a transaction that is given up, and the codes that the library reads.
with connect() as client:
    assert client.ehlo()[0] == 250 and client.has_extn("size")
    assert client.mail("s@client.test") == (250, b"2.1.0 Reverse-path ok")
    assert client.rset()[0] == 250
    assert client.noop()[0] == 250
    assert client.verify("somebody")[0] == 252
    assert client.docmd("MAIL", "FROM:<>")[0] == 250
    assert client.docmd("RCPT", "TO:<a@server.test>")[0] == 250
    assert client.data(b"empty header\r\n")[0] == 250
    sent(TO[:1], b"empty header\r\n")
    assert client.docmd("quit")[0] == 221
    client.close()

print(messages, recipients, octets)
