//! The handshake against scripts of bytes, and against a server on loopback.

use std::io::Cursor;
use std::net::{TcpListener, TcpStream};
use std::thread;

use proptest::prelude::*;

use super::*;

/// A server that says what it was told to, whatever it hears.
struct Script {
    says: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Script {
    fn new(says: &[&[u8]]) -> Self {
        Self { says: Cursor::new(says.concat()), heard: Vec::new() }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const HELLO: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";

fn reply_bytes(kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [
        &OPTION_REPLY_MAGIC.to_be_bytes()[..],
        &OPT_GO.to_be_bytes(),
        &kind.to_be_bytes(),
        &length.to_be_bytes(),
        data,
    ]
    .concat()
}

fn export_info(size: u64, flags: u16) -> Vec<u8> {
    reply_bytes(
        REP_INFO,
        &[&INFO_EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat(),
    )
}

fn block_info(smallest: u32, preferred: u32, longest: u32) -> Vec<u8> {
    let sizes = [smallest, preferred, longest].map(u32::to_be_bytes).concat();
    reply_bytes(REP_INFO, &[&INFO_BLOCK_SIZE.to_be_bytes()[..], &sizes].concat())
}

fn ack() -> Vec<u8> {
    reply_bytes(REP_ACK, &[])
}

fn open_script(says: &[&[u8]]) -> Result<Export, Error> {
    open(&mut Script::new(says), "disc.iso")
}

/// As it is said, with all causes.
fn sentence(says: &[&[u8]]) -> String {
    format!("{:#}", anyhow::Error::from(open_script(says).unwrap_err()))
}

#[test]
fn an_export_has_size_flags_and_blocks() {
    let mut script =
        Script::new(&[HELLO, &export_info(135_266_304, 0x103), &block_info(1, 4096, 1 << 25), &ack()]);
    let export = open(&mut script, "disc.iso").unwrap();
    assert_eq!(export, Export { size: 135_266_304, flags: 0x103, block: 512, longest: Some(1 << 25) });
    assert_eq!(script.heard[..4], [0, 0, 0, 3]);
    assert_eq!(script.heard[4..16], *b"IHAVEOPT\0\0\0\x07");
    assert_eq!(script.heard[16..], *b"\0\0\0\x10\0\0\0\x08disc.iso\0\x01\0\x03");
}

#[test]
fn the_servers_smallest_block_is_kept() {
    let export =
        open_script(&[HELLO, &block_info(2048, 4096, u32::MAX), &export_info(4096 * 3 + 5, 1), &ack()]);
    assert_eq!(export.unwrap(), Export { size: 4096 * 3, flags: 1, block: 2048, longest: None });
    let too_large = sentence(&[HELLO, &block_info(65536, 65536, 1 << 25), &export_info(1 << 20, 1), &ack()]);
    assert!(too_large.contains("units of 65536 bytes"), "{too_large}");
    let odd = sentence(&[HELLO, &block_info(1000, 4096, 1 << 25), &export_info(1 << 20, 1), &ack()]);
    assert!(odd.contains("units of 1000 bytes"), "{odd}");
    let short = sentence(&[HELLO, &block_info(512, 512, 100), &export_info(1 << 20, 1), &ack()]);
    assert!(short.contains("breaks the protocol"), "{short}");
}

#[test]
fn a_structured_error_is_said_in_words() {
    for (kind, words) in [
        (2, "policy"),
        (3, "doesn't understand"),
        (4, "platform"),
        (5, "TLS"),
        (6, "no export of that name"),
        (7, "shut down"),
        (8, "block size"),
        (99, "no name"),
    ] {
        let said = sentence(&[HELLO, &reply_bytes(REP_ERROR | kind, b"because.\n")]);
        assert!(
            said.contains(words) && said.contains("disc.iso") && said.contains("(\"because.\")"),
            "{said}"
        );
    }
    let old = sentence(&[HELLO, &reply_bytes(REP_ERROR | 1, b"")]);
    assert!(old.contains("too old"), "{old}");
}

#[test]
fn what_is_no_server_of_ours_is_named() {
    assert!(sentence(&[b"SSH-2.0-OpenSSH_9.2p1 Debian"]).contains("no NBD server"));
    assert!(sentence(&[b"NBDMAGICxxxxxxxx\0\x03"]).contains("no NBD server"));
    assert!(sentence(&[b"NBDMAGIC", OLDSTYLE_MAGIC, &[0; 200]]).contains("too old"));
    assert!(sentence(&[b"NBDMAGICIHAVEOPT\0\0"]).contains("too old"));
}

#[test]
fn a_broken_answer_is_an_error() {
    let other_option =
        reply_bytes(REP_ACK, &[]).into_iter().enumerate().map(|(at, byte)| if at == 11 { 1 } else { byte });
    let long = [&reply_bytes(REP_INFO, &[])[..16], &(1u32 << 31).to_be_bytes()].concat();
    let endless = reply_bytes(REP_INFO, &[0, 9]).repeat(MOST_REPLIES + 1);
    for (says, words) in [
        (ack(), "names no size"),
        (vec![7; 40], "magic"),
        (other_option.collect(), "another question"),
        (long, "64 KiB"),
        (endless, "never comes to an end"),
        (reply_bytes(77, &[]), "unknown kind"),
        ([reply_bytes(REP_INFO, &[0, 0, 1]), ack()].concat(), "names no size"),
    ] {
        let said = sentence(&[HELLO, &says]);
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(sentence(&[HELLO, &export_info(511, 1), &ack()]).contains("empty"));
    assert!(open(&mut Script::new(&[HELLO]), &"x".repeat(5000)).is_err());
}

#[test]
fn closed_anywhere_it_says_so() {
    let whole = [HELLO, &export_info(1 << 20, 1), &ack()].concat();
    for length in 0..whole.len() {
        let said = sentence(&[&whole[..length]]);
        assert_eq!(said, "the server closed the connection in the middle of the talk", "{length}");
    }
    assert!(open_script(&[&whole]).is_ok());
}

#[test]
fn a_read_is_answered_by_its_cookie() {
    let cookie = b"\0netroot";
    let good = [&REPLY_MAGIC.to_be_bytes()[..], &[0; 4], cookie, b"abcd"].concat();
    let mut script = Script::new(&[&good]);
    let mut buffer = [0; 4];
    read(&mut script, 32768, &mut buffer).unwrap();
    assert_eq!(&buffer, b"abcd");
    assert_eq!(
        script.heard,
        [&REQUEST_MAGIC.to_be_bytes()[..], &[0; 4], cookie, &[0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 4]]
            .concat()
    );

    let error = [&REPLY_MAGIC.to_be_bytes()[..], &5u32.to_be_bytes(), cookie].concat();
    assert!(
        read(&mut Script::new(&[&error]), 0, &mut buffer)
            .unwrap_err()
            .to_string()
            .contains("can't read the disk")
    );
    let other = [&REPLY_MAGIC.to_be_bytes()[..], &[0; 12], b"abcd"].concat();
    assert!(matches!(read(&mut Script::new(&[&other]), 0, &mut buffer), Err(Error::Broken(_))));
}

#[test]
fn several_reads_are_asked_for_at_once_and_answered_in_any_order() {
    let answer = |cookie: u64, data: &[u8]| {
        [&REPLY_MAGIC.to_be_bytes()[..], &[0; 4], &(FIRST_COOKIE + cookie).to_be_bytes(), data].concat()
    };
    let pieces = |script: &mut Script| {
        let (mut one, mut two) = ([0; 2], [0; 3]);
        read_all(script, [(512, &mut one[..]), (4096, &mut two[..])]).map(|()| (one, two))
    };
    let mut script = Script::new(&[&answer(1, b"two"), &answer(0, b"on")]);
    assert_eq!(pieces(&mut script).unwrap(), (*b"on", *b"two"));
    assert_eq!(script.heard.len(), 2 * 28);
    let twice = pieces(&mut Script::new(&[&answer(1, b"two"), &answer(1, b"two")]));
    assert!(matches!(twice, Err(Error::Broken(_))));
}

#[test]
fn it_talks_with_a_server_on_loopback() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.write_all(HELLO).unwrap();
        let mut asked = [0; 4 + 16 + 16];
        client.read_exact(&mut asked).unwrap();
        // In small pieces, as a network may bring it.
        for byte in [export_info(4096, 3), ack()].concat() {
            client.write_all(&[byte]).unwrap();
        }
        asked
    });
    let mut stream = TcpStream::connect(address).unwrap();
    assert_eq!(open(&mut stream, "disc.iso").unwrap().size, 4096);
    assert!(server.join().unwrap().ends_with(b"disc.iso\0\x01\0\x03"));
}

proptest! {
    #[test]
    fn any_server_is_listened_to_the_end(says in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = open_script(&[&says]);
        let _ = open_script(&[HELLO, &says]);
        let _ = read(&mut Script::new(&[&says]), 0, &mut [0; 64]);
    }

    #[test]
    fn any_reply_is_read(kind in prop_oneof![Just(REP_INFO), Just(REP_ACK), any::<u32>()], data in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(export) = open_script(&[HELLO, &export_info(1 << 30, 1), &reply_bytes(kind, &data), &ack()]) {
            prop_assert!(export.size > 0 && export.block.is_power_of_two());
            prop_assert!((SMALLEST_BLOCK..=LARGEST_BLOCK).contains(&export.block));
        }
    }
}
