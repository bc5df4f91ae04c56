//! A small NBD client: what the tests ask of a block server, over TCP and with simple replies.
//!
//! It does the fixed newstyle handshake, `NBD_OPT_LIST`, `NBD_OPT_GO`, `NBD_CMD_READ` and `NBD_CMD_DISC`, and nothing
//! else: no TLS, no structured replies, no writing. Every call ends within a minute of silence. Numbers and shapes are those
//! of the NBD project's `doc/proto.md`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The longest wait for the server's next bytes; a server that dies or hangs becomes an error.
const PATIENCE: Duration = Duration::from_secs(60);

const SERVER_MAGIC: &[u8; 8] = b"NBDMAGIC";
const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;

const INFO_EXPORT: u16 = 0;
const FLAG_READ_ONLY: u16 = 1 << 1;

const CMD_READ: u16 = 0;
const CMD_DISC: u16 = 2;

/// No option reply of an honest server is longer.
const MAX_OPTION_REPLY: u32 = 64 * 1024;

/// A connection to one export. Dropped without [`Client::disconnect`] it just closes the socket.
pub struct Client {
    stream: TcpStream,
    size: u64,
    flags: u16,
    cookie: u64,
}

impl Client {
    /// Connects and asks for `export` with `NBD_OPT_GO`.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] with the server's words if it refuses the export; otherwise what the socket says, or
    /// [`io::ErrorKind::InvalidData`] for an answer outside the protocol.
    pub fn connect(server: SocketAddr, export: &str) -> io::Result<Self> {
        Self::connect_within(server, export, PATIENCE)
    }

    /// The same, without more than this of silence until the export is there.
    ///
    /// # Errors
    /// As for [`Client::connect`]; silence is [`io::ErrorKind::WouldBlock`].
    pub fn connect_within(server: SocketAddr, export: &str, patience: Duration) -> io::Result<Self> {
        let mut stream = handshake(server, patience)?;
        let mut ask = length(export.len())?.to_be_bytes().to_vec();
        ask.extend_from_slice(export.as_bytes());
        ask.extend_from_slice(&0u16.to_be_bytes()); // no particular information wanted
        send_option(&mut stream, OPT_GO, &ask)?;

        let mut found = None;
        loop {
            match option_reply(&mut stream, OPT_GO)? {
                (REP_INFO, data) => {
                    let mut data = data.as_slice();
                    if u16::from_be_bytes(take(&mut data)?) == INFO_EXPORT {
                        let size = u64::from_be_bytes(take(&mut data)?);
                        found = Some((size, u16::from_be_bytes(take(&mut data)?)));
                    }
                }
                (REP_ACK, _) => break,
                (other, _) => return Err(invalid(format!("option reply {other:#x}"))),
            }
        }
        let (size, flags) = found.ok_or_else(|| invalid("no size before the ACK"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, size, flags, cookie: 0 })
    }

    /// The export's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// True if the server offers the export as read-only.
    pub fn is_read_only(&self) -> bool {
        self.flags & FLAG_READ_ONLY != 0
    }

    /// Reads `len` bytes from `offset` on.
    ///
    /// # Errors
    /// The server's error number as an OS error; otherwise as for [`Client::connect`].
    pub fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_into(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn read_into(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.request(CMD_READ, offset, length(bytes.len())?)?;
        let magic = u32::from_be_bytes(take(&mut self.stream)?);
        let error = u32::from_be_bytes(take(&mut self.stream)?);
        let cookie = u64::from_be_bytes(take(&mut self.stream)?);
        if magic != REPLY_MAGIC || cookie != self.cookie {
            return Err(invalid(format!("reply {magic:#x} to request {cookie}")));
        }
        if error != 0 {
            return Err(io::Error::from_raw_os_error(i32::try_from(error).map_err(invalid)?));
        }
        self.stream.read_exact(bytes)
    }

    /// Reads the whole export, a MiB at a time.
    ///
    /// # Errors
    /// As for [`Client::read`].
    pub fn read_all(&mut self) -> io::Result<Vec<u8>> {
        const STEP: u64 = 1 << 20;
        let mut bytes = Vec::new();
        let mut offset = 0;
        while offset < self.size {
            let len = STEP.min(self.size - offset);
            bytes.extend(self.read(offset, usize::try_from(len).map_err(invalid)?)?);
            offset += len;
        }
        Ok(bytes)
    }

    /// Says good-bye and waits until the server has closed the connection.
    ///
    /// # Errors
    /// The socket's error.
    pub fn disconnect(mut self) -> io::Result<()> {
        self.request(CMD_DISC, 0, 0)?;
        match self.stream.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(invalid("bytes after NBD_CMD_DISC")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn request(&mut self, command: u16, offset: u64, len: u32) -> io::Result<()> {
        self.cookie += 1;
        let mut request = Vec::with_capacity(28);
        request.extend_from_slice(&REQUEST_MAGIC.to_be_bytes());
        request.extend_from_slice(&0u16.to_be_bytes());
        request.extend_from_slice(&command.to_be_bytes());
        request.extend_from_slice(&self.cookie.to_be_bytes());
        request.extend_from_slice(&offset.to_be_bytes());
        request.extend_from_slice(&len.to_be_bytes());
        self.stream.write_all(&request)
    }
}

/// The names that the server lists, in its order.
///
/// # Errors
/// As for [`Client::connect`]; a server that does not allow listing is [`io::ErrorKind::NotFound`].
pub fn list(server: SocketAddr) -> io::Result<Vec<String>> {
    let mut stream = handshake(server, PATIENCE)?;
    send_option(&mut stream, OPT_LIST, &[])?;
    let mut names = Vec::new();
    loop {
        match option_reply(&mut stream, OPT_LIST)? {
            (REP_SERVER, data) => {
                let mut data = data.as_slice();
                let len = u32::from_be_bytes(take(&mut data)?);
                let name = data.get(..usize::try_from(len).map_err(invalid)?);
                let name = name.ok_or_else(|| invalid("a name longer than its reply"))?;
                names.push(String::from_utf8(name.to_vec()).map_err(invalid)?);
            }
            (REP_ACK, _) => break,
            (other, _) => return Err(invalid(format!("option reply {other:#x}"))),
        }
    }
    send_option(&mut stream, OPT_ABORT, &[])?;
    Ok(names)
}

fn handshake(server: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    if &take::<8>(&mut stream)? != SERVER_MAGIC || &take::<8>(&mut stream)? != OPTION_MAGIC {
        return Err(invalid("not a newstyle NBD server"));
    }
    let offered = u16::from_be_bytes(take(&mut stream)?);
    if offered & FIXED_NEWSTYLE == 0 {
        return Err(invalid("not a fixed newstyle NBD server"));
    }
    let ours = u32::from(offered & (FIXED_NEWSTYLE | NO_ZEROES));
    stream.write_all(&ours.to_be_bytes())?;
    Ok(stream)
}

fn send_option(stream: &mut TcpStream, option: u32, data: &[u8]) -> io::Result<()> {
    let mut message = OPTION_MAGIC.to_vec();
    message.extend_from_slice(&option.to_be_bytes());
    message.extend_from_slice(&length(data.len())?.to_be_bytes());
    message.extend_from_slice(data);
    stream.write_all(&message)
}

/// One reply's type and data; an error reply is an error.
fn option_reply(stream: &mut TcpStream, option: u32) -> io::Result<(u32, Vec<u8>)> {
    let magic = u64::from_be_bytes(take(stream)?);
    let answered = u32::from_be_bytes(take(stream)?);
    let kind = u32::from_be_bytes(take(stream)?);
    let len = u32::from_be_bytes(take(stream)?);
    if magic != OPTION_REPLY_MAGIC || answered != option || len > MAX_OPTION_REPLY {
        return Err(invalid(format!("{len} bytes of reply to option {answered}")));
    }
    let mut data = vec![0; usize::try_from(len).map_err(invalid)?];
    stream.read_exact(&mut data)?;
    if kind & REP_ERROR != 0 {
        let words = String::from_utf8_lossy(&data).into_owned();
        let sentence = format!("the server refuses: error {kind:#x} {words}");
        return Err(io::Error::new(io::ErrorKind::NotFound, sentence));
    }
    Ok((kind, data))
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(invalid)
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
