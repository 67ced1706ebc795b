//! A small SMTP client that says exactly what it is told, and reads every reply whole.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use socket2::Socket;

use super::patience::PATIENCE;

#[derive(Debug)]
pub struct Client {
    stream: BufReader<Socket>,
}

/// One reply, all lines of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// With its line ends.
    pub text: String,
}

impl Reply {
    /// `CODE ENHANCED-CODE`, or the code alone.
    pub fn is(&self, codes: &str) -> bool {
        self.text.strip_prefix(codes).is_some_and(|rest| rest.starts_with([' ', '-', '\r']))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Self::over(stream.into())
    }

    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(path)?.into())
    }

    pub fn over(socket: Socket) -> io::Result<Self> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(socket) })
    }

    /// Connected and greeted.
    #[track_caller]
    pub fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).expect("the server is there");
        client.expect("220");
        client
    }

    /// Connected, greeted, and through with EHLO.
    #[track_caller]
    pub fn ready(address: SocketAddr) -> Self {
        let mut client = Self::greeted(address);
        client.say("EHLO client.test\r\n", "250");
        client
    }

    /// In mail data.
    #[track_caller]
    pub fn in_mail_data(address: SocketAddr) -> Self {
        let mut client = Self::ready(address);
        client.begin_data();
        client
    }

    pub fn socket(&self) -> &Socket {
        self.stream.get_ref()
    }

    pub fn send(&mut self, octets: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(octets.as_ref())
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let begin = text.len();
            self.stream.read_line(&mut text)?;
            let line = &text[begin..];
            let code = line.get(..3).and_then(|code| code.parse().ok());
            match (code, line.as_bytes().get(3)) {
                _ if !line.ends_with("\r\n") => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("a reply was cut: {text:?}")));
                }
                (Some(_), Some(b'-')) => {}
                (Some(code), Some(b' ' | b'\r')) => return Ok(Reply { code, text }),
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("this is no reply: {text:?}"))),
            }
        }
    }

    /// Reads a reply, which must have these codes, such as `250` or `421 4.3.2`.
    #[track_caller]
    pub fn expect(&mut self, codes: &str) -> Reply {
        match self.reply() {
            Ok(reply) if reply.is(codes) => reply,
            other => panic!("{codes} was expected, but there came {other:?}"),
        }
    }

    /// Sends, and reads a reply, which must have these codes.
    #[track_caller]
    pub fn say(&mut self, octets: impl AsRef<[u8]>, codes: &str) -> Reply {
        self.send(octets).expect("the server takes it");
        self.expect(codes)
    }

    /// MAIL, one RCPT, DATA.
    #[track_caller]
    pub fn begin_data(&mut self) {
        self.say("MAIL FROM:<s@client.test>\r\n", "250");
        self.say("RCPT TO:<r@server.test>\r\n", "250");
        self.say("DATA\r\n", "354");
    }

    /// One message to one recipient.
    #[track_caller]
    pub fn deliver(&mut self, content: impl AsRef<[u8]>) {
        self.begin_data();
        self.send(content).expect("the server takes it");
        self.say(".\r\n", "250 2.0.0");
    }

    #[track_caller]
    pub fn quit(mut self) {
        self.say("QUIT\r\n", "221 2.0.0");
        self.expect_end();
    }

    /// The server must close, and say nothing before.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "the end was expected, but there came {:?}", String::from_utf8_lossy(&rest));
    }

    /// All that still comes until the server closes, or resets.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server neither closed nor reset: {error}"),
        }
        rest
    }

    /// Says that nothing more will come, and reads on.
    pub fn half_close(&self) {
        self.socket().shutdown(Shutdown::Write).expect("the connection is open");
    }
}
